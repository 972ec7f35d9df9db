/* Joint embedding, live: a sentence finds scenes, a scene finds sentences, and a picture can be added to. */
(function () {
  "use strict";
  const { h, speaker, latest, model, select, paint, idsOf, unit, add } = MMT;
  const EXAMPLES = ["a dog on the beach", "a large sun above a house", "there are two cars", "a cat and a guitar in the forest"];

  MMT.exhibits.search = async function (place) {
    const [world, space, gallery] = await Promise.all(["world", "search", "gallery"].map(model));
    const known = gallery.sentences.map((text) => [text, space.text(idsOf(text, space.words))]);
    const state = { text: EXAMPLES[0], chosen: null };
    const box = h("input", { type: "text", value: state.text, maxlength: 200, size: 34, "aria-label": "A sentence", oninput: () => ((state.text = box.value), find()) });
    const examples = h("div", { class: "mmt-bar" }, EXAMPLES.map((text) => h("button", { type: "button", onclick: () => ((box.value = state.text = text), find()) }, text)));
    const found = h("ol", { class: "mmt-found" }), error = h("p", { class: "mmt-error", role: "alert", hidden: true }), scene = h("div", {}), voice = speaker();

    const drawn = new Map();
    /** A small picture of a scene of the gallery. */
    function thumb(i, side = 96) {
      if (!drawn.has(i)) drawn.set(i, world.draw(gallery.scenes[i]));
      const canvas = h("canvas", { width: 2 * side, height: 2 * side, style: `width:${side}px`, "aria-hidden": true });
      paint(canvas, drawn.get(i), 96);
      return canvas;
    }
    const tell = (i) => `${gallery.scenes[i].things.map((t) => `${world.size(t)} ${t.name}`).join(", ")}; ${world.grounds.get(gallery.scenes[i].ground).name}`;

    /** The nearest scenes in a row; `judge` says of each whether it is right, if anybody knows. */
    function row(point, judge) {
      return gallery.nearest(point, 6).map(([i, cosine]) => {
        const right = judge(i), mark = right === null ? "" : right ? " ✓" : " ✗";
        return h("li", {}, h("button", { type: "button", class: "mmt-hit", "aria-label": `${tell(i)}; cosine ${cosine.toFixed(2)}${right === null ? "" : right ? "; true" : "; not so"}`, onclick: () => choose(i) }, thumb(i), h("span", { class: right ? "mmt-true" : right === false ? "mmt-false" : "" }, `${cosine.toFixed(2)}${mark}`)));
      });
    }

    const find = latest(async () => {
      error.hidden = true;
      try {
        const point = space.text(idsOf(state.text, space.words)), verdict = (i) => world.verdict(state.text, gallery.scenes[i]);
        const hits = row(point, (i) => (verdict(i) === "unparsable" ? null : verdict(i) === "true"));
        found.replaceChildren(...hits);
        const all = gallery.scenes.filter((_, i) => verdict(i) === "true").length;
        if (verdict(0) === "unparsable") voice.say(`The six nearest scenes. Whether they fit nobody knows: ${state.text} is no sentence of the world's grammar.`);
        else voice.say(`${state.text}: ${hits.filter((one) => one.textContent.includes("✓")).length} of the six nearest scenes fit; ${all} of ${gallery.scenes.length} do.`);
      } catch (problem) {
        error.textContent = problem.message;
        error.hidden = false;
        found.replaceChildren();
        voice.say(problem.message);
      }
      place.dataset.ready = String(+(place.dataset.ready || 0) + 1);
    });

    /** What a scene finds, and what becomes of it when one thing goes and another comes. */
    function choose(i, minus, plus) {
      state.chosen = i;
      const here = gallery.scenes[i], own = MMT.row(gallery.pictures, i), names = [...new Set(here.things.map((t) => t.name))];
      const texts = known.map(([text, point]) => [text, MMT.dot(own, point)]).sort((a, b) => b[1] - a[1]).slice(0, 5);
      minus = names.includes(minus) ? minus : names[0];
      plus = plus || [...world.things.keys()].find((name) => !names.includes(name));
      const word = (name) => space.text(idsOf(name, space.words)), change = add(word(plus), word(minus).map((v) => -v));
      const goal = unit(add(own, change.map((v) => gallery.weight * v)));
      const wanted = [...names.filter((n) => n !== minus), plus].sort().join();
      const right = (k) => [...new Set(gallery.scenes[k].things.map((t) => t.name))].sort().join() === wanted;
      const lost = scene.contains(document.activeElement), focus = lost ? document.activeElement.dataset.key : null;
      const pick = (key, label, options, chosen, act) => { const one = select(label, options.map((n) => [n, n]), chosen, act); one.querySelector("select").dataset.key = key; return one; };
      scene.replaceChildren(
        h("p", {}, h("strong", {}, "This scene finds these sentences:")),
        h("div", { class: "mmt-bar" }, thumb(i, 128), h("ul", {}, texts.map(([text, cosine]) => { const so = world.verdict(text, here) === "true"; return h("li", {}, `${text} `, h("span", { class: so ? "mmt-true" : "mmt-false" }, `${cosine.toFixed(2)} ${so ? "✓" : "✗"}`)); }))),
        h("div", { class: "mmt-bar" }, "The picture ", pick("minus", "−", names, minus, (v) => choose(i, v, plus)), pick("plus", "+", [...world.things.keys()].sort(), plus, (v) => choose(i, minus, v)), " is nearest to:"),
        h("ol", { class: "mmt-found" }, row(goal, right)),
        h("p", { class: "mmt-small" }, "✓: just these things, and no others. The scenes are 120 unseen ones; not every sum has its answer among them."));
      const next = focus ? scene.querySelector(`[data-key=${focus}]`) : lost ? scene.querySelector("select") : null;
      if (next) next.focus({ preventScroll: true });
      voice.say(`The nearest sentence: ${texts[0][0]}`);
    }

    find();
    choose(0);
    place.exhibit = { state, find, choose };
    return [h("label", {}, "Find: ", box), examples, error, found, scene, voice.line];
  };
})();
