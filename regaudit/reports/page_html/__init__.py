"""The HTML page, part by part: text and tables that stand without scripts, and the data that scripts draw from."""
