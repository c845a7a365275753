// A table of many songs: searched, filtered and sorted in memory, and drawn only as far as it is seen.
const { title, columns, filters, rows } = JSON.parse(document.getElementById("songs").textContent);
const $ = (id) => document.getElementById(id);
const ROW = 30, SPARE = 8;
const texts = rows.map((row) => columns.map((column, at) => (column.searched ? row[at] ?? "" : "")).join("\n").toLowerCase());
let shown = [], sorted = { at: 0, down: false };

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const choices = filters.map((name) => {
  const at = columns.findIndex((column) => column.name === name), counts = new Map();
  for (const row of rows) for (const value of parts(row[at])) counts.set(value, (counts.get(value) ?? 0) + 1);
  const select = make("select", { "aria-label": name }, make("option", { value: "" }, `any ${name.toLowerCase()}`));
  for (const [value, count] of [...counts].sort((a, b) => b[1] - a[1]))
    select.append(make("option", { value }, `${value} (${count})`));
  select.addEventListener("change", sift);
  if (counts.size > 1) $("filters").append(select);
  return { at, select };
});

function parts(value) {
  return value === null || value === "" ? [] : String(value).split(", ");
}

function sift() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = choices.filter(({ select }) => select.value);
  shown = [];
  rows.forEach((row, number) => {
    if (words.every((word) => texts[number].includes(word))
      && wanted.every(({ at, select }) => parts(row[at]).includes(select.value))) shown.push(number);
  });
  order();
}

function order() {
  const { at, down } = sorted, sign = down ? -1 : 1, numeric = columns[at].numeric;
  const compare = new Intl.Collator(undefined, { numeric: true }).compare;
  shown.sort((a, b) => {
    const [p, q] = [rows[a][at], rows[b][at]];
    if (p === null || q === null) return (p === null) - (q === null) || a - b; // songs without a value come last
    return sign * (numeric ? p - q : compare(p, q)) || a - b;
  });
  columns.forEach((column, number) => {
    const state = number !== at ? "none" : down ? "descending" : "ascending";
    column.head.setAttribute("aria-sort", state);
    column.head.firstChild.textContent = column.name + { none: "", ascending: " ▲", descending: " ▼" }[state];
  });
  $("count").textContent = `${shown.length.toLocaleString()} of ${rows.length.toLocaleString()} songs`;
  $("rows").firstChild.style.height = `${shown.length * ROW}px`;
  $("rows").scrollTop = 0;
  draw();
}

function draw() {
  const view = $("rows"), first = Math.max(Math.floor(view.scrollTop / ROW) - SPARE, 0);
  const last = Math.min(first + Math.ceil(view.clientHeight / ROW) + 2 * SPARE, shown.length);
  const visible = [];
  for (let place = first; place < last; place += 1) visible.push(line(rows[shown[place]], place));
  view.firstChild.replaceChildren(...visible);
}

function line(row, place) {
  const cells = columns.map((column, at) => {
    const value = row[at], cell = make("span", { role: "cell" });
    if (column.links) for (const [name, address] of value ?? []) cell.append(make("a", { href: address }, name), " ");
    else if (value !== null) cell.append(column.percent ? `${Math.round(100 * value)}%` : String(value));
    if (column.numeric) cell.className = "number";
    else if (!column.links) cell.title = value ?? "";
    return cell;
  });
  return make("div", { class: `song ${row[1]}`, role: "row", "aria-rowindex": place + 2, style: `top: ${place * ROW}px` }, ...cells);
}

columns.forEach((column, at) => {
  const button = make("button", { type: "button" }, column.name);
  column.head = make("div", { role: "columnheader" }, button);
  if (column.links) button.disabled = true;
  button.addEventListener("click", () => {
    const down = sorted.at === at ? !sorted.down : Boolean(column.numeric);
    sorted = { at, down };
    order();
  });
  $("head").append(column.head);
});
$("table").style.setProperty("--columns", columns.map((column) => column.width).join(" "));
$("table").setAttribute("aria-rowcount", rows.length + 1);
$("rows").append(make("div"));
$("title").textContent = title;
$("search").addEventListener("input", sift);
$("rows").addEventListener("scroll", draw);
new ResizeObserver(draw).observe($("rows"));
sift();
