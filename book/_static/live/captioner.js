/* Show, Attend and Tell, live: the captioner writes about the reader's own scene. */
(function () {
  "use strict";
  const { h, choice, speaker, latest, model, Stage } = MMT;
  const FIRST = { ground: "beach-1", things: [{ name: "dog", side: 464, x: 300, y: 640, mirrored: false }, { name: "car", side: 304, x: 760, y: 330, mirrored: false }] };
  const VERDICTS = {
    true: ["✓", "true of this scene", "mmt-true"],
    false: ["✗", "false: not so in this scene", "mmt-false"],
    unparsable: ["◌", "no sentence of the world's grammar", "mmt-false"],
  };

  MMT.exhibits.captioner = async function (place) {
    const own = place.dataset.model; // a model that a reader trained, and no world
    const eyes = await model("encoder"), world = !own ? await model("world") : null;
    const state = { way: "soft", running: "soft", detail: "plain", word: null, side: "looks", fooled: 0, map: null, scene: null, told: null };
    let captioner = await model(own || "captioner-soft");
    const file = MMT.files[own || "captioner-soft"];

    const sentence = h("ol", { class: "mmt-sentence", "aria-label": "The sentence. A word shows where the model looked" });
    const verdict = h("p", {}), times = h("p", { class: "mmt-small" }), voice = speaker();
    const error = h("p", { class: "mmt-error", role: "alert", hidden: true });
    const stage = world ? new Stage(world, structuredClone(FIRST), see) : new MMT.Frame(see, file.about.eyes.pixels);

    const write = latest(async () => {
      const begin = performance.now();
      state.map = eyes.map(state.pixels, stage.side);
      const seen = performance.now();
      state.told = captioner.write(state.map, { lengthPenalty: state.detail === "plain" ? 0 : 1 });
      state.word = null;
      tell();
      const done = performance.now();
      times.textContent = `The picture took ${Math.round(seen - begin)} ms, the sentence ${Math.round(done - seen)} ms, on your machine.`;
      place.dataset.ready = String(+(place.dataset.ready || 0) + 1);
    });

    function see(pixels, scene) {
      Object.assign(state, { pixels, scene });
      if (own && !stage.own) return (place.dataset.ready = "0"), (verdict.textContent = "Bring a picture, or drop one on the grey square.");
      return write();
    }

    function tell() {
      const { words } = state.told, text = words.join(" ");
      sentence.replaceChildren(...words.map((word, t) => h("li", {}, h("button", { type: "button", "aria-pressed": false, onclick: () => look(t), onpointerenter: () => light(t), onpointerleave: () => light(state.word) }, word))));
      if (!state.scene) verdict.textContent = "The page does not know what is in your picture. The model has only ever seen drawings of 24 things: it names what looks most like one of them.";
      else {
        const [mark, says, kind] = VERDICTS[world.verdict(text, state.scene)];
        verdict.replaceChildren(h("span", { class: kind }, `${mark} ${says}`));
      }
      voice.say(`${text}. ${state.scene ? verdict.textContent : ""}`);
    }

    /** Light the place of a word while a mouse is on it; */
    const light = (t) => stage.highlight(t === null ? null : state.told[state.side][t]);

    /** or until it is pressed once more. */
    function look(t) {
      state.word = state.word === t ? null : t;
      [...sentence.querySelectorAll("button")].forEach((one, i) => one.setAttribute("aria-pressed", i === state.word));
      light(state.word);
    }

    async function change(name, value) {
      state[name] = value;
      if (name === "way") {
        try {
          const other = await model(`captioner-${value}`);
          if (state.way !== value) return; // meanwhile another one was chosen
          captioner = other;
          state.running = value;
          error.hidden = true;
        } catch (problem) {
          error.textContent = `This model could not be loaded: ${problem.message}`;
          error.hidden = false;
          state.way = state.running;
          return (place.querySelector(`input[value=${state.running}]`).checked = true);
        }
      }
      if (name === "side") return light(state.word);
      return write();
    }

    stage.show();
    place.exhibit = { state, stage, change, write };
    return [
      h("div", { class: "mmt-two" }, stage.element,
        h("div", {}, h("p", { class: "mmt-small" }, "The model says:"), sentence, verdict,
          own ? null : choice("Attention:", { soft: "soft", priced: "priced", hard: "hard" }, "soft", (v) => change("way", v)),
          choice("Sentence:", { plain: "plain", detailed: "detailed" }, "plain", (v) => change("detail", v)), error,
          captioner.config.point ? choice("A word shows:", { looks: "where the model looked before it", points: "where it found the word after it" }, "looks", (v) => change("side", v)) : null,
          times)),
      voice.line,
    ];
  };
})();
