/* Chapter 9, live: the captioner writes about the reader's own scene. */
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
    const eyes = await model("encoder"), world = MMT.manifest && !own ? await model("world") : null;
    const state = { way: "soft", detail: "plain", word: null, side: "looks", fooled: 0, map: null, scene: null, told: null };
    let captioner = await model(own || "captioner-soft");

    const sentence = h("ol", { class: "mmt-sentence", "aria-label": "The sentence. A word shows where the model looked" });
    const verdict = h("p", {}), times = h("p", { class: "mmt-small" }), voice = speaker();
    const stage = world ? new Stage(world, structuredClone(FIRST), see) : new MMT.Frame(see);

    const write = latest(async () => {
      const begin = performance.now();
      state.map = eyes.map(state.pixels, 96);
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
      return write();
    }

    function tell() {
      const { words } = state.told, text = words.join(" ");
      sentence.replaceChildren(...words.map((word, t) => h("li", {}, h("button", { type: "button", "aria-pressed": false, onclick: () => look(t), onpointerenter: () => look(t, true) }, word))));
      if (!state.scene) verdict.textContent = "The page does not know what is in your picture. The model has only ever seen drawings of 24 things: it names what looks most like one of them.";
      else {
        const [mark, says, kind] = VERDICTS[world.verdict(text, state.scene)];
        verdict.replaceChildren(h("span", { class: kind }, `${mark} ${says}`));
      }
      voice.say(`${text}. ${state.scene ? verdict.textContent : ""}`);
    }

    /** Light the place of a word; once more, and the whole picture is back. */
    function look(t, keep) {
      state.word = state.word === t && !keep ? null : t;
      [...sentence.querySelectorAll("button")].forEach((one, i) => one.setAttribute("aria-pressed", i === state.word));
      const found = state.word === null ? null : state.told[state.side][state.word];
      stage.highlight(found);
    }

    async function change(name, value) {
      state[name] = value;
      if (name === "way") captioner = await model(`captioner-${value}`);
      if (name === "side") return state.word !== null && look(state.word, true);
      return write();
    }

    stage.show();
    place.exhibit = { state, stage, change, write };
    return [
      h("div", { class: "mmt-two" }, stage.element,
        h("div", {}, h("p", { class: "mmt-small" }, "The model says:"), sentence, verdict,
          own ? null : choice("Attention:", { soft: "soft", priced: "priced", hard: "hard" }, "soft", (v) => change("way", v)),
          choice("Sentence:", { plain: "plain", detailed: "detailed" }, "plain", (v) => change("detail", v)),
          captioner.config.point ? choice("A word shows:", { looks: "where the model looked before it", points: "where it found the word after it" }, "looks", (v) => change("side", v)) : null,
          times)),
      voice.line,
    ];
  };
})();
