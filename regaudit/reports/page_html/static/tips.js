// The explanation of a measure beside whatever names it: on hover, on focus, on a tap; Escape closes it.
const tip = el("div", { class: "tip", role: "tooltip", id: "tip", hidden: true });
let tipped = null;

function hideTip() {
  tip.hidden = true;
  tipped?.removeAttribute("aria-describedby");
  tipped = null;
}

function showTip(target) {
  const found = entry(target.dataset.m);
  if (!found || target === tipped) return;
  hideTip();
  tip.replaceChildren(el("code", {}, target.dataset.m), ...[...found.querySelector("dd").children].map((each) => each.cloneNode(true)));
  (target.closest("dialog") ?? document.body).append(tip); // a dialog hides what is not in it
  tip.hidden = false;
  placeTip(target);
  target.setAttribute("aria-describedby", "tip");
  tipped = target;
}

function placeTip(target) {
  const at = target.getBoundingClientRect();
  const size = tip.getBoundingClientRect();
  const below = at.bottom + 8 + size.height < innerHeight;
  tip.style.left = `${Math.max(12, Math.min(at.left, document.documentElement.clientWidth - size.width - 12))}px`;
  tip.style.top = `${below ? at.bottom + 8 : Math.max(8, at.top - size.height - 8)}px`;
}

const named = (event) => event.target.closest?.("[data-m]") ?? cellOfMeasure(event.target);

// A number in the table of layers is explained by the head of its column.
function cellOfMeasure(target) {
  const cell = target.closest?.(".layers td.number[data-v]");
  const head = cell?.closest("table").tHead.rows[0].cells[cell.cellIndex];
  if (!head?.dataset.m) return null;
  cell.dataset.m = head.dataset.m;
  return cell;
}

function startTips() {
  document.addEventListener("pointerover", (event) => {
    const target = named(event);
    if (target) showTip(target);
    else hideTip();
  });
  document.addEventListener("focusin", (event) => (named(event) ? showTip(named(event)) : hideTip()));
  // What has the focus keeps its tip: the browser scrolls to it.
  const follow = () => (tipped && tipped === document.activeElement ? placeTip(tipped) : hideTip());
  document.addEventListener("scroll", follow, { capture: true, passive: true });
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a.m");
    if (!link) return;
    event.preventDefault();
    showTip(link);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || tip.hidden) return;
    hideTip();
    event.preventDefault(); // the dialog below stays open
  }, { capture: true });
}
