/* word2vec, live: sums of words, in the English of 1611 and of today. */
(function () {
  "use strict";
  const { h, speaker, latest, model, alike } = MMT;
  const BOOKS = { "words-1611": "1611: the King James Bible", "words-today": "today: pages of Wikipedia" };
  const EXAMPLES = ["king - man + woman", "father - man + woman", "son - father + mother", "light", "power", "gold + silver"];

  /** A formula such as "king − man + woman" as terms: [[1, "king"], [−1, "man"], …]. */
  function terms(text) {
    // a minus stands alone or before a word; a hyphen stands within one
    const parts = text.normalize("NFC").toLowerCase().replace(/[−–]/g, " - ").match(/[+-]|[\p{L}\p{N}]+(?:['-][\p{L}\p{N}]+)*/gu) || [], out = [];
    let sign = 1;
    for (const part of parts) {
      if (part === "+") sign = 1;
      else if (part === "-") sign = -1;
      else out.push([sign, part]), (sign = 1);
    }
    if (!out.length) throw new Error("Type a word, or a sum of words such as king - man + woman.");
    if (out.length > 10) throw new Error(`That is a sum of ${out.length} words; ten are enough.`);
    return out;
  }

  MMT.exhibits.words = async function (place) {
    const names = place.dataset.model ? { [place.dataset.model]: "" } : BOOKS, models = {};
    for (const name of Object.keys(names)) models[name] = await model(name);
    const box = h("input", { type: "text", value: place.dataset.model ? "" : EXAMPLES[0], maxlength: 200, size: 30, "aria-label": "A sum of words", oninput: () => sum() });
    const examples = place.dataset.model ? null : h("div", { class: "mmt-bar" }, EXAMPLES.map((text) => h("button", { type: "button", onclick: () => ((box.value = text), sum()) }, text)));
    const out = h("div", { class: "mmt-two" }), voice = speaker();

    const sum = latest(async () => {
      let spoken = [];
      const columns = Object.entries(names).map(([name, title]) => {
        const one = models[name], head = title ? [h("p", {}, h("strong", {}, title))] : [];
        try {
          const asked = terms(box.value), strange = asked.map(([, word]) => word).filter((word) => !one.ids.has(word));
          if (strange.length) {
            const near = alike(strange[0], one.words);
            throw new Error(`“${strange[0]}” is not among its ${one.words.length.toLocaleString("en")} words.${near.length ? ` It knows: ${near.join(", ")}.` : ""}`);
          }
          const found = one.nearest(asked, 8);
          if (!found.length || found.every(([, cosine]) => cosine === 0)) throw new Error("Nothing is left of this sum: it points nowhere.");
          spoken.push(`${title} ${found.slice(0, 3).map(([word]) => word).join(", ")}`);
          return h("div", {}, head, h("table", { class: "mmt-answers" }, h("tbody", {}, found.map(([word, cosine]) => h("tr", {}, h("th", { scope: "row" }, word), h("td", {}, h("meter", { min: 0, max: 1, value: Math.max(0, cosine), "aria-label": `cosine of ${word}` }), ` ${cosine.toFixed(2)}`))))));
        } catch (problem) {
          spoken.push(problem.message);
          return h("div", {}, head, h("p", { class: "mmt-error" }, problem.message));
        }
      });
      out.replaceChildren(...columns);
      voice.say(spoken.join(". "));
      place.dataset.ready = String(+(place.dataset.ready || 0) + 1);
    });

    sum();
    place.exhibit = { box, sum };
    return [h("label", {}, "Nearest to: ", box), examples, out, voice.line];
  };
})();
