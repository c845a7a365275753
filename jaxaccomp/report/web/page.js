// Wires the page: facts, versions, parts, transport, keys.
const song = JSON.parse(document.getElementById("song").textContent);
const $ = (id) => document.getElementById(id);

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

function readSegment(stem, index) {
  const element = document.getElementById(`audio-${stem}-${index}`);
  return element ? bytesOf(element.textContent).buffer : null;
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function list(target, rows) {
  for (const [name, value] of rows) target.append(make("dt", {}, name), make("dd", {}, value));
}

function timeText(seconds) {
  const whole = Math.floor(seconds + 1e-6);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

const player = createPlayer(song, readSegment, refresh);
const roll = createRoll($("roll"), song, player);
const lastBar = song.bars.length - 1;
let lastTake = song.sources.length > 1 ? 1 : 0;

// Versions: the original first, then the takes in the order asked for.
const cards = song.sources.map((source, number) => {
  const radio = make("button", { role: "radio", "aria-checked": "false" }, make("b", {}, source.name));
  if (number < 9) radio.prepend(make("kbd", { "aria-hidden": "true" }, String(number + 1)));
  radio.addEventListener("click", () => choose(number));
  const scores = make("dl");
  list(scores, source.scores.map(({ label, text }) => [label, text]));
  const file = make("a", { download: source.file, "aria-label": `Download ${source.file}` }, "Download MIDI");
  file.href = URL.createObjectURL(new Blob([bytesOf(source.midi)], { type: "audio/midi" }));
  const card = make("div", { class: "source" }, radio, scores, make("p", {}, file));
  card.radio = radio;
  return card;
});

function arrange() {
  const [first, ...takes] = song.sources.map((_, number) => number);
  const key = $("sort").value;
  if (key) {
    const value = (number) => song.sources[number].scores.find((score) => score.label === key)?.value ?? -Infinity;
    takes.sort((a, b) => value(b) - value(a) || a - b);
  }
  $("sources").append(...[first, ...takes].map((number) => cards[number]));
}

function choose(number) {
  if (number >= song.sources.length) return;
  if (number > 0) lastTake = number;
  player.choose(number);
  $("status").textContent = `${song.sources[number].name}, bar ${roll.barAt(player.position()) + 1}`;
}

// Parts: mute and solo.
const parts = song.roles.map((role) => {
  const dot = make("span", { class: "dot", style: `background: var(--${role})` });
  const name = song.role_names[role];
  const mute = make("button", { "aria-label": `Mute ${name}`, "aria-pressed": "false" }, "Mute");
  const solo = make("button", { "aria-label": `Solo ${name}`, "aria-pressed": "false" }, "Solo");
  mute.addEventListener("click", () => player.mute(role));
  solo.addEventListener("click", () => player.solo(role));
  const element = make("span", { class: "part" }, dot, make("span", {}, name), mute, solo);
  $("parts").append(element);
  return { role, element, mute, solo };
});

// Transport.
function loopFromFields() {
  const [from, to] = [$("from"), $("to")].map((field) => Math.min(Math.max(Math.round(+field.value) || 1, 1), lastBar));
  player.setLoop({ start: song.bars[Math.min(from, to) - 1], end: song.bars[Math.max(from, to)] });
}

function toggleLoop() {
  if (player.loop) player.setLoop(null);
  else loopFromFields();
}

function toggle() {
  if (player.playing) player.pause();
  else player.play();
}

function step(bars) {
  const number = roll.barAt(player.position());
  const late = player.position() - song.bars[number] > 0.4;
  player.seek(song.bars[Math.min(Math.max(number + (bars < 0 && late ? 0 : bars), 0), lastBar - 1)]);
}

$("play").addEventListener("click", toggle);
$("start").addEventListener("click", () => player.seek(0));
$("seek").addEventListener("input", (event) => player.seek(+event.target.value));
$("loop").addEventListener("click", toggleLoop);
for (const id of ["from", "to"]) $(id).addEventListener("change", loopFromFields);
$("in").addEventListener("click", () => roll.zoom(1.5));
$("out").addEventListener("click", () => roll.zoom(1 / 1.5));
$("fit").addEventListener("click", () => roll.zoom(0));
$("sort").addEventListener("change", arrange);
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(song.command);
    $("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren($("command")); // no clipboard from here: mark it, to be copied by hand
  }
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const tag = event.target.tagName, type = event.target.type;
  if (tag === "SELECT" || (tag === "INPUT" && type === "number")) return;
  const onButton = tag === "BUTTON" || tag === "A" || tag === "SUMMARY";
  const key = event.key.toLowerCase();
  const actions = {
    a: () => choose(0), b: () => choose(lastTake), l: toggleLoop, home: () => player.seek(0),
    "+": () => roll.zoom(1.5), "=": () => roll.zoom(1.5), "-": () => roll.zoom(1 / 1.5), 0: () => roll.zoom(0),
    k: toggle,
  };
  if (!onButton) actions[" "] = toggle;
  if (type !== "range") Object.assign(actions, { arrowleft: () => step(-1), arrowright: () => step(1) });
  if (key >= "1" && key <= "9") actions[key] = () => choose(+key - 1);
  if (!actions[key]) return;
  event.preventDefault();
  actions[key]();
});

// What changes by itself or by any of the above.
function refresh() {
  $("play").innerHTML = player.playing ? "&#10074;&#10074; Pause" : "&#9654; Play";
  $("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  cards.forEach((card, number) => {
    const chosen = number === player.source;
    card.classList.toggle("chosen", chosen);
    card.radio.setAttribute("aria-checked", chosen);
  });
  const stems = song.sources[player.source].stems;
  for (const { role, element, mute, solo } of parts) {
    mute.setAttribute("aria-pressed", player.isMuted(role));
    solo.setAttribute("aria-pressed", player.isSoloed(role));
    element.classList.toggle("silent", !player.audible(role) || !(role in stems));
  }
  $("loop").setAttribute("aria-pressed", player.loop !== null);
  if (player.loop) {
    $("from").value = roll.barAt(player.loop.start) + 1;
    $("to").value = roll.barAt(player.loop.end - 1e-2) + 1;
  }
  roll.touch();
}

function frame() {
  roll.draw();
  const at = player.position(), text = `${timeText(at)} / ${timeText(song.length_s)} · bar ${roll.barAt(at) + 1} of ${lastBar}`;
  if ($("clock").textContent !== text) {
    $("clock").textContent = text;
    $("seek").setAttribute("aria-valuetext", text);
  }
  if (document.activeElement !== $("seek") || player.playing) $("seek").value = at;
  requestAnimationFrame(frame);
}

$("title").textContent = song.title;
list($("facts"), song.facts);
list($("settings"), song.settings);
$("command").textContent = song.command;
$("again").hidden = !song.command;
$("seek").max = song.length_s;
for (const id of ["from", "to"]) $(id).max = lastBar;
$("from").value = 1;
$("to").value = Math.min(8, lastBar);
$("roll").setAttribute("aria-label", `Piano roll of ${song.title}, ${lastBar} bars`);
const measures = [...new Set(song.sources.slice(1).flatMap((source) => source.scores.map((score) => score.label)))];
$("sort").append(...measures.map((label) => make("option", { value: label }, label)), make("option", { value: "" }, "number"));
$("sorting").hidden = song.sources.length < 3 || !measures.length;
arrange();
choose(lastTake);
$("status").textContent = "";
new ResizeObserver(() => { roll.resize(); }).observe($("roll"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => roll.resize());
refresh();
frame();
window.jaxaccomp = { player, song };
