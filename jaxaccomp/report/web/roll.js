// The piano roll: bars, notes of the chosen version, drums in lanes of their own, loop and playhead, on one canvas.
function createRoll(canvas, song, player) {
  const RULER = 22, LEFT = 60, LANE = 13, PITCHES = 210, GAP = 8;
  const every = Object.values(song.stems);
  const pitched = every.filter((stem) => stem.role !== "drums").flatMap((stem) => stem.notes.map((note) => note[2]));
  const range = pitched.length
    ? pitched.reduce(([low, high], pitch) => [Math.min(low, pitch), Math.max(high, pitch)], [127, 0])
    : [48, 72];
  const lanes = song.drums.filter((drum) =>
    every.some((stem) => stem.role === "drums" && stem.notes.some((note) => note[2] === drum.lane)));
  const laneOf = new Map(lanes.map((drum, index) => [drum.lane, index]));
  const height = RULER + PITCHES + (lanes.length ? GAP + LANE * lanes.length : 0) + 4;
  const longest = every.reduce((most, stem) => stem.notes.reduce((m, note) => Math.max(m, note[1]), most), 0);
  let width = 0, first = 0, scale = 1, colors = {}, dirty = true, last = {};

  function resize() {
    const ratio = window.devicePixelRatio || 1;
    width = canvas.clientWidth || 300;
    canvas.style.height = height + "px";
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(document.documentElement);
    for (const name of ["paper", "ink", "quiet", "line", "grid", "melody", "bass", "drums", "other", "playhead", "loop"])
      colors[name] = style.getPropertyValue("--" + name).trim();
    scale = Math.max(scale, least());
    clampView();
  }

  const least = () => (width - LEFT) / song.length_s;
  const shown = () => (width - LEFT) / scale;
  const x = (second) => LEFT + (second - first) * scale;
  const secondAt = (pixel) => Math.min(Math.max(first + (pixel - LEFT) / scale, 0), song.length_s);
  const y = (pitch) => RULER + 4 + (PITCHES - 8) * (1 - (pitch - range[0] + 0.5) / (range[1] - range[0] + 1));

  function clampView() {
    scale = Math.min(Math.max(scale, least()), 400);
    first = Math.min(Math.max(first, 0), Math.max(song.length_s - shown(), 0));
    dirty = true;
  }

  function zoom(factor, around = player.position()) {
    const place = around >= first && around <= first + shown() ? x(around) : width / 2;
    const second = secondAt(place);
    scale = factor ? scale * factor : least();
    scale = Math.min(Math.max(scale, least()), 400);
    first = second - (place - LEFT) / scale;
    clampView();
  }

  function pan(seconds) {
    first += seconds;
    clampView();
  }

  function draw() {
    const at = player.position(), loop = player.loop;
    if (player.playing && (at < first || at > first + shown() * 0.95)) {
      first = at - shown() * 0.05;
      clampView();
    }
    if (!dirty && at === last.at) return;
    dirty = false;
    last = { at };
    const pen = canvas.getContext("2d");
    pen.fillStyle = colors.paper;
    pen.fillRect(0, 0, width, height);
    pen.save();
    pen.beginPath();
    pen.rect(LEFT, 0, width - LEFT, height);
    pen.clip();
    if (loop) {
      pen.fillStyle = colors.loop;
      pen.fillRect(x(loop.start), 0, (loop.end - loop.start) * scale, height);
    }
    lines(pen);
    for (const role of ["other", "drums", "bass", "melody"]) {
      const stem = song.stems[song.sources[player.source].stems[role]];
      if (stem) notes(pen, stem, role);
    }
    pen.fillStyle = colors.playhead;
    pen.fillRect(x(at) - 1, 0, 2, height);
    pen.restore();
    labels(pen);
  }

  function lines(pen) {
    const end = first + shown();
    pen.fillStyle = colors.grid;
    if (scale > 12) for (const beat of song.beats) if (beat >= first && beat <= end) pen.fillRect(x(beat), RULER, 1, height);
    for (let pitch = Math.ceil(range[0] / 12) * 12; pitch <= range[1]; pitch += 12) pen.fillRect(LEFT, y(pitch - 0.5), width, 1);
    pen.font = "11px system-ui, sans-serif";
    let free = -1;
    song.bars.forEach((bar, number) => {
      if (bar < first - 8 || bar > end) return;
      pen.fillStyle = colors.line;
      if (scale * (song.bars[1] - song.bars[0]) > 4) pen.fillRect(x(bar), RULER - 6, 1, height);
      if (number === song.bars.length - 1 || x(bar) < free) return;
      pen.fillStyle = colors.quiet;
      pen.fillText(number + 1, x(bar) + 3, 14);
      free = x(bar) + 30;
    });
  }

  function notes(pen, stem, role) {
    const end = first + shown(), audible = player.audible(role);
    const row = Math.max((PITCHES - 8) / (range[1] - range[0] + 1), 3) * 0.9;
    pen.fillStyle = colors[role];
    for (const [start, seconds, place, velocity] of stem.notes) {
      if (start > end) break;
      if (start < first - longest) continue;
      pen.globalAlpha = (audible ? 1 : 0.2) * (0.45 + 0.55 * velocity / 127);
      if (role === "drums") {
        const top = RULER + PITCHES + GAP + LANE * laneOf.get(place);
        pen.fillRect(x(start), top + 2, Math.max(Math.min(scale * 0.09, 9), 2), LANE - 4);
      } else {
        pen.fillRect(x(start), y(place) - row / 2, Math.max(seconds * scale - 1, 1.5), row);
      }
    }
    pen.globalAlpha = 1;
  }

  function labels(pen) {
    pen.fillStyle = colors.paper;
    pen.fillRect(0, 0, LEFT - 1, height);
    pen.fillStyle = colors.quiet;
    pen.font = "10px system-ui, sans-serif";
    for (let pitch = Math.ceil(range[0] / 12) * 12; pitch <= range[1]; pitch += 12)
      pen.fillText("C" + (pitch / 12 - 1), 4, y(pitch) + 3);
    lanes.forEach((drum, index) => pen.fillText(drum.name, 3, RULER + PITCHES + GAP + LANE * index + 10));
    pen.fillText("bar", 4, 14);
  }

  function barAt(second) {
    let number = 0;
    while (number < song.bars.length - 2 && song.bars[number + 1] <= second + 1e-3) number += 1;
    return number;
  }

  // A click seeks, a drag over the bar numbers loops, a drag elsewhere moves the view.
  let grip = null;
  canvas.addEventListener("pointerdown", (event) => {
    grip = { x: event.offsetX, second: secondAt(event.offsetX), first, ruler: event.offsetY < RULER, moved: false };
    try { canvas.setPointerCapture(event.pointerId); } catch { /* a pointer that is gone already */ }
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!grip) return;
    grip.moved ||= Math.abs(event.offsetX - grip.x) > 4;
    if (!grip.moved) return;
    if (grip.ruler) {
      const [a, b] = [grip.second, secondAt(event.offsetX)].sort((p, q) => p - q);
      player.setLoop({ start: song.bars[barAt(a)], end: song.bars[barAt(b) + 1] });
    } else {
      first = grip.first - (event.offsetX - grip.x) / scale;
      clampView();
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    if (grip && !grip.moved) player.seek(secondAt(event.offsetX));
    grip = null;
  });
  canvas.addEventListener("pointercancel", () => { grip = null; });
  canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey) zoom(Math.exp(-event.deltaY / 200), secondAt(event.offsetX));
    else if (event.deltaX) pan(event.deltaX / scale);
    else return;
    event.preventDefault();
  }, { passive: false });

  resize();
  scale = Math.max(least(), (width - LEFT) / Math.min(song.length_s, width > 700 ? 60 : 20));
  return { draw, resize, zoom, pan, barAt, touch: () => { dirty = true; } };
}
