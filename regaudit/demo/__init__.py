"""The demonstration: one small network, trained with each penalty, audited before and after."""
