// Sort and filter the rows of a table of layers.
const keyOf = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.v === undefined ? cell.textContent.trim() : Number(cell.dataset.v);
};

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sortBy(table, column, direction) {
  const head = table.tHead.rows[0].cells;
  [...head].forEach((each, i) => (i === column ? each.setAttribute("aria-sort", direction) : each.removeAttribute("aria-sort")));
  const sign = direction === "ascending" ? 1 : -1;
  const isMissing = (key) => key === "–";
  const rows = [...table.tBodies[0].rows].map((row) => [keyOf(row, column), row]);
  rows.sort(([a], [b]) => isMissing(a) - isMissing(b) || sign * compare(a, b)); // what is missing comes last both ways
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = el("button", { type: "button", class: "sort", "data-m": head.dataset.m }, head.textContent);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      sortBy(table, column, head.getAttribute("aria-sort") === first ? second : first);
    });
  });
  table.tHead.rows[0].cells[0].setAttribute("aria-sort", "ascending");
}

function makeFilterable(filters, table) {
  const rows = [...table.tBodies[0].rows];
  const [find, role, mark] = ["input", "select.role", "select.mark"].map((each) => filters.querySelector(each));
  const empty = el("tbody", { class: "empty", hidden: true }, el("tr", {}, el("td", { colspan: table.tHead.rows[0].cells.length }, "No layer is like that.")));
  table.append(empty);
  const apply = () => {
    const words = find.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const fits = words.every((word) => row.cells[1].textContent.toLowerCase().includes(word))
        && (!role.value || row.dataset.role === role.value)
        && (!mark?.value || row.dataset.marks.split("|").includes(mark.value));
      row.hidden = !fits;
    }
    const shown = rows.filter((row) => !row.hidden).length;
    empty.hidden = shown > 0;
    filters.querySelector(".count").textContent = shown === rows.length ? `${rows.length} layers` : `${shown} of ${rows.length} layers`;
  };
  filters.addEventListener("input", apply);
  filters.hidden = false;
  apply();
}
