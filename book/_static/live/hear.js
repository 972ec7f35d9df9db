/* The cocktail party, live: two voices mixed, and taken apart by the lips. */
(function () {
  "use strict";
  const { h, select, choice, speaker, latest, model, dot } = MMT;

  /** A wave as a file that the browser plays: 16-bit PCM. */
  function wav(wave, rate) {
    const data = new DataView(new ArrayBuffer(44 + 2 * wave.length)), text = (at, s) => [...s].forEach((c, i) => data.setUint8(at + i, c.charCodeAt(0)));
    text(0, "RIFF"), data.setUint32(4, 36 + 2 * wave.length, true), text(8, "WAVEfmt ");
    data.setUint32(16, 16, true), data.setUint16(20, 1, true), data.setUint16(22, 1, true), data.setUint32(24, rate, true), data.setUint32(28, 2 * rate, true), data.setUint16(32, 2, true), data.setUint16(34, 16, true);
    text(36, "data"), data.setUint32(40, 2 * wave.length, true);
    const most = Math.max(0.9, ...wave.map(Math.abs));
    wave.forEach((v, i) => data.setInt16(44 + 2 * i, Math.round((32767 * 0.9 * v) / most), true));
    return URL.createObjectURL(new Blob([data], { type: "audio/wav" }));
  }

  /** By how many dB a guess is nearer to a voice than the mixture is (SI-SDR). */
  function gain(guess, voice, mixture) {
    const centred = (x) => { const m = x.reduce((a, b) => a + b, 0) / x.length; return x.map((v) => v - m); };
    const score = (x) => { const s = centred(voice), g = centred(x), b = dot(g, s) / dot(s, s), rest = g.map((v, i) => v - b * s[i]); return 10 * Math.log10((b * b * dot(s, s)) / dot(rest, rest)); };
    return score(guess) - score(mixture);
  }

  MMT.exhibits.hear = async function (place) {
    const [party, voices] = await Promise.all(["party", "voices"].map(model));
    const films = await Promise.all(voices.people.map(async (one) => { const image = new Image(); image.src = one.film; await image.decode(); return image; }));
    const length = voices.wave(0).length, size = voices.mouth(0).length;
    const state = { left: "0", right: "3", faces: "on", own: null };
    const people = voices.people.map((one, i) => [String(i), `${one.name}, ${one.pitch} Hz`]);
    const error = h("p", { class: "mmt-error", role: "alert", hidden: true }), result = h("p", {}), voice = speaker(), times = h("p", { class: "mmt-small" });
    const masks = h("canvas", { role: "img", "aria-label": "The mask: blue where the left voice is kept, red where the right one is", class: "mmt-mask" });
    const film = ["left", "right"].map((side) => h("canvas", { width: 144, height: 144, class: "mmt-film", role: "img", "aria-label": `The face of the ${side} voice` }));
    const player = (label) => { const audio = h("audio", { controls: true, "aria-label": label }); return { audio, row: h("div", { class: "mmt-bar" }, h("span", { class: "mmt-label" }, label), audio) }; };
    const players = [player("the mixture"), player("the left voice"), player("the right voice")];

    const still = new Float32Array(size);
    const faceOf = (side) => (state[side] === "own" ? null : +state[side]);

    const run = latest(async () => {
      error.hidden = true;
      const begin = performance.now();
      const sources = ["left", "right"].map((side) => (state[side] === "own" ? state.own : voices.wave(+state[side])));
      let wave = sources[0].map((v, t) => v + sources[1][t]);
      const loud = Math.max(1, ...wave.map(Math.abs));
      wave = wave.map((v) => v / loud);
      const seen = ["left", "right"].map((side) => (faceOf(side) === null || state.faces === "off" ? still : voices.mouth(faceOf(side))));
      if (state.faces === "exchanged") seen.reverse();
      const apart = party.separate(wave, seen);
      Object.assign(state, { wave, apart });
      [wave, ...apart.voices].forEach((x, i) => {
        const { audio } = players[i];
        if (audio.src) URL.revokeObjectURL(audio.src);
        audio.src = wav(x, voices.rate);
      });
      show(apart.masks[0], apart.Y);
      const gains = apart.voices.map((guess, i) => gain(guess, sources[i].map((v) => v / loud), wave));
      state.gains = gains;
      const told = gains.map((g) => `${g < 0 ? "−" : ""}${Math.abs(g).toFixed(1)} dB`);
      result.textContent = state.left === state.right ? "Both sides are the same person saying the same: there is nothing to take apart." : `The left voice gains ${told[0]}, the right one ${told[1]} over the mixture.`;
      times.textContent = `Taking apart ${(length / voices.rate).toFixed(0)} seconds took ${Math.round(performance.now() - begin)} ms on your machine.`;
      faces(0);
      voice.say(result.textContent);
      place.dataset.ready = String(+(place.dataset.ready || 0) + 1);
    });

    /** The mask over time and frequency, low ones below. */
    function show(mask, { bins, frames }) {
      const rows = 128, image = new ImageData(frames, rows);
      (masks.width = frames), (masks.height = rows);
      for (let y = 0; y < rows; y++)
        for (let t = 0; t < frames; t++) {
          const v = Math.min(1, Math.max(-1, 2 * mask[Math.floor(((rows - 1 - y) * bins) / rows) * frames + t] - 1)), at = 4 * (y * frames + t);
          const strong = Math.abs(v), goal = v > 0 ? [33, 102, 172] : [178, 24, 43];
          goal.forEach((c, k) => (image.data[at + k] = Math.round(247 + (c - 247) * strong)));
          image.data[at + 3] = 255;
        }
      masks.getContext("2d").putImageData(image, 0, 0);
    }

    /** Both faces at a second of the sound; grey where none is shown. */
    function faces(second) {
      const order = state.faces === "exchanged" ? ["right", "left"] : ["left", "right"];
      order.forEach((side, i) => {
        const pen = film[i].getContext("2d"), who = faceOf(side), at = state.faces === "off" ? 0 : Math.min(size / 384 - 1, Math.floor(second * voices.fps));
        film[i].setAttribute("aria-label", who === null ? "no film" : `${voices.people[who].name}, shown ${state.faces === "off" ? "still" : `for the ${["left", "right"][i]} voice`}`);
        pen.fillStyle = "#999";
        pen.fillRect(0, 0, 144, 144);
        if (who !== null) pen.drawImage(films[who], (at % voices.across) * voices.side, Math.floor(at / voices.across) * voices.side, voices.side, voices.side, 0, 0, 144, 144);
      });
    }
    for (const { audio } of players) {
      audio.addEventListener("play", () => {
        players.forEach((other) => other.audio !== audio && other.audio.pause());
        const next = () => (faces(audio.currentTime), !audio.paused && requestAnimationFrame(next));
        next();
      });
    }

    /** A sound of the reader's: two seconds of it, as loud as the others. */
    async function bring(blob, name) {
      state.brought = blob; // the last one counts
      try {
        const context = new OfflineAudioContext(1, length, voices.rate);
        const sound = await context.decodeAudioData(await blob.arrayBuffer());
        const source = context.createBufferSource();
        source.buffer = sound;
        source.connect(context.destination);
        source.start();
        const own = (await context.startRendering()).getChannelData(0).slice(), loud = Math.sqrt(dot(own, own) / length);
        if (!(loud >= 1e-4) || !own.every(Number.isFinite)) throw new Error(loud < 1e-4 ? "silence" : "no numbers");
        if (state.brought !== blob) return;
        state.own = own.map((v) => (v * 0.06) / loud);
        state.right = "own";
        if (!right.querySelector('option[value="own"]')) right.querySelector("select").append(h("option", { value: "own" }, "a sound of my own"));
        right.querySelector("select").value = "own";
        return run();
      } catch (problem) {
        error.textContent = problem.message === "silence" ? `${name} is silent in its first two seconds; there is nothing to mix.` : `${name} is no sound that this browser can read. A WAV, MP3 or OGG will do.`;
        error.hidden = false;
      }
    }

    async function record(event) {
      const button = event.currentTarget;
      try {
        if (!navigator.mediaDevices || !window.MediaRecorder) throw new Error("none");
        const stream = await navigator.mediaDevices.getUserMedia({ audio: true }), recorder = new MediaRecorder(stream), parts = [];
        button.textContent = "Speak now …";
        recorder.ondataavailable = (one) => parts.push(one.data);
        const ended = new Promise((done) => (recorder.onstop = done));
        recorder.start();
        setTimeout(() => recorder.stop(), 2600);
        await ended;
        stream.getTracks().forEach((track) => track.stop());
        await bring(new Blob(parts), "What was recorded");
      } catch {
        error.textContent = "There is no microphone, or it may not be used here. A sound file will do as well.";
        error.hidden = false;
      }
      button.textContent = "Record two seconds";
    }

    const left = select("Left", people, state.left, (v) => ((state.left = v), run())), right = select("Right", people, state.right, (v) => ((state.right = v), run()));
    const file = h("input", { type: "file", accept: "audio/*", class: "mmt-file", "aria-label": "a sound of my own", onchange: (event) => event.target.files[0] && bring(event.target.files[0], `“${event.target.files[0].name}”`) });
    run();
    place.exhibit = { state, run, bring };
    return [
      h("div", { class: "mmt-bar" }, left, right),
      choice("The faces are", { on: "shown", off: "still", exchanged: "exchanged" }, "on", (v) => ((state.faces = v), run())),
      h("div", { class: "mmt-two" }, h("div", {}, h("div", { class: "mmt-bar" }, film), players.map((one) => one.row)), h("div", {}, h("p", { class: "mmt-small" }, "The mask: two seconds from left to right, low frequencies at the bottom. Blue is kept for the left voice, red for the right one."), masks, result, times)),
      h("div", { class: "mmt-bar" }, h("label", { class: "mmt-upload" }, "A sound of my own as the right voice ", file), h("button", { type: "button", onclick: record }, "Record two seconds")),
      h("p", { class: "mmt-small" }, "A voice of your own has no film here: the network sees a face that does not move. What you record stays on this page."),
      error, voice.line,
    ];
  };
})();
