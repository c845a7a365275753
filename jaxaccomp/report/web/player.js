// Plays one of several versions of a song. A version is a set of stems, a stem a row of MP3 segments of
// song.segment_s seconds, each with song.lead_s more on both sides. Only segments that are about to sound are decoded.
function createPlayer(song, readSegment, changed) {
  const AHEAD_S = 2.5, SOON_S = 0.03, FADE_S = 0.006, MOST_SEGMENTS = 48;
  const muted = new Set(), soloed = new Set(), voices = new Set(), segments = new Map();
  let context = null, analyser = null, gains = {}, source = 0, loop = null;
  let playing = false, rest = 0, spans = [], cursor = null, run = 0, filling = 0, timer = 0;

  function open() {
    if (context) return;
    context = new AudioContext();
    analyser = context.createAnalyser();
    analyser.fftSize = 2048;
    analyser.connect(context.destination);
    for (const role of song.roles) {
      gains[role] = context.createGain();
      gains[role].connect(analyser);
    }
    balance();
  }

  function balance() {
    for (const [role, node] of Object.entries(gains))
      node.gain.setTargetAtTime(audible(role) ? 1 : 0, context.currentTime, 0.01);
  }

  function audible(role) {
    return soloed.size ? soloed.has(role) : !muted.has(role);
  }

  // The decoded segment, or null where the stem is silent. The one used longest ago is forgotten first.
  function decoded(stem, index) {
    const key = stem + ":" + index;
    let found = segments.get(key);
    segments.delete(key);
    if (!found) {
      const bytes = readSegment(stem, index);
      found = bytes ? context.decodeAudioData(bytes) : Promise.resolve(null);
    }
    segments.set(key, found);
    while (segments.size > MOST_SEGMENTS) segments.delete(segments.keys().next().value);
    return found;
  }

  function stemsOf(number) {
    return Object.entries(song.sources[number].stems);
  }

  function decodeAt(number, position) {
    const index = segmentAt(position);
    return Promise.all(stemsOf(number).map(async ([role, stem]) => [role, await decoded(stem, index)]));
  }

  function segmentAt(position) {
    return Math.min(Math.floor(position / song.segment_s + 1e-6), song.segments - 1);
  }

  function position() {
    if (!playing) return rest;
    const now = context.currentTime;
    while (spans.length > 1 && spans[1].time <= now) spans.shift();
    if (!spans.length) return rest;
    const { time, position, seconds } = spans[0];
    return position + Math.min(Math.max(now - time, 0), seconds);
  }

  // Schedules segment after segment until enough lies ahead.
  async function fill() {
    const mine = run;
    if (filling === mine || !playing) return;
    filling = mine;
    try {
      while (playing && mine === run && cursor.time < context.currentTime + AHEAD_S) {
        const from = cursor.position, index = segmentAt(from);
        if (from >= song.length_s - 1e-3) {
          if (context.currentTime > cursor.time) finish();
          return;
        }
        const inLoop = loop && from < loop.end - 1e-6;
        const to = Math.min((index + 1) * song.segment_s, song.length_s, inLoop ? loop.end : Infinity);
        const buffers = await decodeAt(source, from);
        if (mine !== run || !playing) return;
        cursor.time = Math.max(cursor.time, context.currentTime + SOON_S);
        for (const [role, buffer] of buffers)
          if (buffer) voice(buffer, role, cursor.time, from - index * song.segment_s + song.lead_s, to - from);
        spans.push({ time: cursor.time, position: from, seconds: to - from });
        cursor = { time: cursor.time + to - from, position: inLoop && to === loop.end ? loop.start : to };
      }
    } finally {
      if (filling === mine) filling = 0;
    }
  }

  // A piece of a segment, faded in and out so that it joins the next one without a click.
  function voice(buffer, role, time, offset, seconds) {
    const node = context.createBufferSource(), fade = context.createGain();
    node.buffer = buffer;
    fade.gain.setValueAtTime(0, time);
    fade.gain.linearRampToValueAtTime(1, time + FADE_S);
    fade.gain.setValueAtTime(1, time + seconds);
    fade.gain.linearRampToValueAtTime(0, time + seconds + FADE_S);
    node.connect(fade).connect(gains[role]);
    node.start(time, offset, seconds + FADE_S);
    const entry = { node, fade };
    voices.add(entry);
    node.onended = () => voices.delete(entry);
  }

  function silence() {
    const now = context.currentTime;
    for (const { node, fade } of voices) {
      fade.gain.cancelScheduledValues(now);
      fade.gain.setTargetAtTime(0, now, 0.004);
      node.stop(now + 0.03);
    }
    voices.clear();
  }

  function restart(at) {
    run += 1;
    silence();
    rest = at;
    spans = [];
    cursor = { time: context.currentTime + SOON_S, position: at };
    fill();
  }

  async function play() {
    open();
    playing = true;
    changed();
    await context.resume();
    if (rest >= song.length_s - 0.05) rest = 0;
    restart(rest);
    clearInterval(timer);
    timer = setInterval(fill, 100);
  }

  function pause() {
    rest = position();
    playing = false;
    run += 1;
    clearInterval(timer);
    silence();
    changed();
  }

  function finish() {
    pause();
    rest = 0;
    changed();
  }

  function seek(to) {
    const at = Math.min(Math.max(to, 0), song.length_s);
    if (playing) restart(at);
    else rest = at;
    changed();
  }

  // The old version sounds until the new one is decoded, which then goes on at the same position.
  async function choose(number) {
    source = number;
    changed();
    if (!playing) return;
    await decodeAt(number, position());
    if (playing && source === number) restart(position());
  }

  function setLoop(wanted) {
    loop = wanted && wanted.end > wanted.start + 0.05 ? wanted : null;
    if (playing) restart(loop && position() >= loop.end ? loop.start : position());
    changed();
  }

  function toggle(set, role) {
    if (!set.delete(role)) set.add(role);
    if (context) balance();
    changed();
  }

  // Root mean square of what sounds now.
  function level() {
    if (!analyser) return 0;
    const samples = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(samples);
    return Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
  }

  return {
    play, pause, seek, choose, setLoop, position, level, audible, decoded, open,
    mute: (role) => toggle(muted, role),
    solo: (role) => toggle(soloed, role),
    isMuted: (role) => muted.has(role),
    isSoloed: (role) => soloed.has(role),
    get playing() { return playing; },
    get source() { return source; },
    get loop() { return loop; },
  };
}
