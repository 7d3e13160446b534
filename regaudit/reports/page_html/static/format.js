// Numbers as people read them, and elements whose text is never markup.
const plainExponent = (text) => {
  if (!text.includes("e")) return text;
  const [mantissa, exponent] = text.split("e");
  return `${mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa}e${Number(exponent)}`;
};

function short(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 99999.5 || size < 0.000995) return plainExponent(value.toExponential(1));
  if (size >= 99.95) return Math.round(value).toLocaleString("en");
  if (size >= 9.995) return value.toFixed(1);
  return value.toFixed(size >= 0.0995 ? 2 : size >= 0.00995 ? 3 : 4);
}

function precise(value) {
  if (Number.isInteger(value) && Math.abs(value) < 1e12) return value.toLocaleString("en");
  const size = Math.abs(value);
  return size >= 1e6 || size < 1e-4 ? plainExponent(value.toExponential(5)) : String(Number(value.toPrecision(6)));
}

function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((each) => each !== undefined && each !== null && each !== ""));
  return element;
}

// What a measure is: the entry of the page's own list, undefined for one that has none.
const entry = (measure) => document.getElementById(`measure-${measure}`);
const tells = (measure) => entry(measure)?.querySelector(".tells")?.textContent ?? "";
const measureLink = (measure) =>
  entry(measure) ? el("a", { class: "m", href: `#measure-${measure}`, "data-m": measure }, measure) : el("span", {}, measure);
