/* A reader's own collection: words find its pictures by name, a picture finds its texts. */
(function () {
  "use strict";
  const { h, speaker, latest, model, wordsOf } = MMT;

  /** The pieces of words that a model of few data reads, as mmtutor.kit.text.ngrams gives them. */
  function pieces(text, shortest = 3, longest = 5) {
    return wordsOf(text).flatMap((word) => {
      const all = [..."_" + word + "_"], out = [];
      for (let n = shortest; n <= Math.min(longest, all.length - 1); n++) {
        const runs = Array.from({ length: all.length - n + 1 }, (_, i) => all.slice(i, i + n).join(""));
        out.push(...(n === 1 ? runs.slice(1, -1) : runs));
      }
      return [...out, all.join("")];
    });
  }

  MMT.exhibits.find = async function (place) {
    const [space, eyes] = await Promise.all([model(place.dataset.model), model("encoder")]);
    const { split, files, texts } = space.about, ids = new Map(space.words.map((word, i) => [word, i]));
    const read = (text) => (split.name === "ngrams" ? pieces(text, split.shortest, split.longest) : wordsOf(text)).map((one) => ids.get(one)).filter((i) => i !== undefined && i > 0);
    const known = texts.map((text) => [text, read(text)]).filter(([, own]) => own.length).map(([text, own]) => [text, space.text(own)]);
    const box = h("input", { type: "text", maxlength: 200, size: 34, "aria-label": "Words to find pictures by", oninput: () => find() });
    const hits = h("ol", {}), said = h("ol", {}), error = h("p", { class: "mmt-error", role: "alert", hidden: true }), voice = speaker();
    const best = (list) => list.sort((a, b) => b[1] - a[1]).slice(0, 8).map(([text, cosine]) => h("li", {}, `${text} `, h("small", {}, cosine.toFixed(2))));

    const find = latest(async () => {
      error.hidden = true;
      const own = read(box.value);
      hits.replaceChildren();
      if (box.value.trim() && !own.length) {
        error.textContent = `The model has never read any of “${box.value}”.`;
        error.hidden = false;
      } else if (own.length) {
        const point = space.text(own);
        hits.replaceChildren(...best(files.map((file, i) => [file, MMT.dot(MMT.row(space.w.vectors, i), point)])));
        voice.say(`The nearest picture is ${hits.firstChild.textContent}`);
      }
      place.dataset.ready = String(+(place.dataset.ready || 0) + 1);
    });
    const stage = new MMT.Frame((pixels) => {
      if (!stage || !stage.own) return;
      const point = space.picture(eyes.map(pixels, stage.side));
      said.replaceChildren(...best(known.map(([text, own]) => [text, MMT.dot(own, point)])));
      voice.say(`The nearest text is ${said.firstChild ? said.firstChild.textContent : "none"}`);
      place.dataset.ready = String(+(place.dataset.ready || 0) + 1);
    }, space.about.eyes.pixels);
    stage.show();
    find();
    place.exhibit = { box, find, stage };
    return [h("label", {}, "Find: ", box), error, h("p", {}, `The nearest of ${files.length} pictures, by the names of their files:`), hits,
      h("div", { class: "mmt-two" }, stage.element, h("div", {}, h("p", {}, "A picture of your own finds these texts:"), said)), voice.line];
  };
})();
