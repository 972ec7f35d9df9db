/* Visual question answering, live: a question of the reader's own about the reader's own scene. */
(function () {
  "use strict";
  const { h, speaker, latest, model, idsOf, wordsOf } = MMT;
  const FIRST = { ground: "field-1", things: [{ name: "dog", side: 304, x: 260, y: 300, mirrored: false }, { name: "tree", side: 464, x: 700, y: 560, mirrored: false }, { name: "dog", side: 304, x: 250, y: 780, mirrored: true }] };
  const EXAMPLES = ["how many dogs are there", "what is to the left of the tree", "is there a car", "where is the tree", "which is bigger the dog or the tree", "what is the background"];

  MMT.exhibits.ask = async function (place) {
    const own = place.dataset.model, eyes = await model("encoder"), world = own ? null : await model("world");
    const looking = await model(own || "questions"), blind = own ? null : await model("questions-blind");
    const file = MMT.files[own || "questions"];
    const state = { question: own ? "" : EXAMPLES[0], shown: null };
    const box = h("input", { type: "text", value: state.question, maxlength: 200, "aria-label": "Your question", size: 34, oninput: () => ((state.question = box.value), ask()) });
    const examples = own ? null : h("div", { class: "mmt-bar" }, EXAMPLES.map((text) => h("button", { type: "button", onclick: () => ((box.value = state.question = text), ask()) }, text)));
    const answers = h("table", { class: "mmt-answers" }), truth = h("p", {}), words = h("ol", { class: "mmt-sentence", "aria-label": "A part of the question or a look: shows where it points" });
    const error = h("p", { class: "mmt-error", role: "alert", hidden: true }), voice = speaker();
    const stage = own ? new MMT.Frame(see, file.about.eyes.pixels) : new MMT.Stage(world, structuredClone(FIRST), see);

    const ask = latest(async () => {
      error.hidden = true;
      let ids;
      if (own && !stage.own) return (truth.textContent = "Bring a picture, or drop one on the grey square."), ready();
      try {
        ids = idsOf(state.question, looking.words);
      } catch (problem) {
        error.textContent = problem.message;
        error.hidden = false;
        for (const part of [answers, truth, words]) part.replaceChildren();
        stage.highlight(null);
        voice.say(problem.message);
        return ready();
      }
      state.map = state.map || eyes.map(state.pixels, stage.side);
      const told = looking.answer(state.map, ids), guess = blind && blind.answer(null, ids);
      show(told, guess);
      ready();
    });
    const ready = () => (place.dataset.ready = String(+(place.dataset.ready || 0) + 1));

    function see(pixels, scene) {
      Object.assign(state, { pixels, map: null, scene });
      return ask();
    }

    function best(model, p, top) {
      return [...p.keys()].sort((a, b) => p[b] - p[a]).slice(0, top).map((i) => [model.answers[i], p[i]]);
    }

    function show(told, guess) {
      const top = best(looking, told.p, 3), rows = top.map(([text, p], i) => [i ? "or" : "It answers", text, p]);
      if (guess) rows.push(...best(blind, guess.p, 1).map(([text, p]) => ["Without seeing the picture", text, p]));
      answers.replaceChildren(h("tbody", {}, rows.map(([who, text, p]) => h("tr", {}, h("th", { scope: "row" }, who), h("td", {}, h("strong", {}, text)), h("td", {}, h("meter", { min: 0, max: 1, value: p, "aria-label": `probability of ${text}` }), ` ${(100 * p).toFixed(0)} %`)))));
      let known = "The page does not know what is in your picture.";
      if (state.scene) {
        const right = world.answer(state.question, state.scene);
        if (right === undefined) known = "That is no question of the world's grammar, so nobody knows the true answer.";
        else if (right === null) known = "The question does not fit this scene: it speaks of one thing where there is none, or several, or nothing is clearly so.";
        else known = h("span", { class: right === top[0][0] ? "mmt-true" : "mmt-false" }, `${right === top[0][0] ? "✓" : "✗"} The true answer is: ${right}`);
      }
      truth.replaceChildren(known);
      const spots = [...wordsOf(state.question).map((word, t) => [word, told.points[t]]).filter(([, w]) => w), ...told.looks.map((w, k) => [k ? "second look" : "first look", w])];
      words.replaceChildren(...spots.map(([text, weights]) => {
        const one = h("button", { type: "button", "aria-pressed": false, onclick: () => light(one, weights) }, text);
        return h("li", {}, one);
      }));
      stage.highlight(null);
      voice.say(`${state.question}: it answers ${top[0][0]}. ${truth.textContent}`);
    }

    function light(one, weights) {
      const on = one.getAttribute("aria-pressed") !== "true";
      for (const other of words.querySelectorAll("button")) other.setAttribute("aria-pressed", other === one && on);
      stage.highlight(on ? weights : null);
    }

    stage.show();
    place.exhibit = { state, stage, ask };
    return [h("div", { class: "mmt-two" }, stage.element, h("div", {}, h("label", {}, "Ask: ", box), examples, error, answers, truth, h("p", { class: "mmt-small" }, "Where each word points, and where the question looks:"), words)), voice.line];
  };
})();
