/* Text to image, live: a sentence and two numbers that one drags; the generator draws as one moves. */
(function () {
  "use strict";
  const { h, speaker, latest, model, paint, idsOf, unit } = MMT;
  const EXAMPLES = ["a dog on the beach", "a tree in the snow", "a house in the city", "the sun in the desert"];
  const REACH = 6;

  /** Random numbers from a normal distribution. */
  const normal = (n) => Float32Array.from({ length: n }, () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()));

  MMT.exhibits.draw = async function (place) {
    const painter = await model(place.dataset.model || "drawing"), size = painter.config.code;
    const state = { x: 0, y: 0 };
    const start = place.dataset.model ? painter.words.slice(1, 4).join(" ") : EXAMPLES[0];
    const box = h("input", { type: "text", value: start, maxlength: 200, size: 30, "aria-label": "A sentence to draw", oninput: () => draw() });
    const usual = EXAMPLES.filter((text) => text.split(" ").every((word) => painter.words.includes(word)));
    const examples = h("div", { class: "mmt-bar" }, usual.map((text) => h("button", { type: "button", onclick: () => ((box.value = text), draw()) }, text)));
    const big = h("canvas", { width: 256, height: 256, role: "img", class: "mmt-big" }), row = h("div", { class: "mmt-bar" });
    const few = Array.from({ length: 6 }, () => h("canvas", { width: 128, height: 128, class: "mmt-few", role: "img", "aria-label": "The same sentence with other random numbers" }));
    row.append(...few);
    const error = h("p", { class: "mmt-error", role: "alert", hidden: true }), times = h("p", { class: "mmt-small" }), voice = speaker();

    function begin() {
      // the two directions in which drawings change most; or, of a reader's own model, any two at right angles
      const known = painter.w.pad, a = known ? MMT.row(known, 0) : unit(normal(size)), b = known ? MMT.row(known, 1) : normal(size);
      const without = (v, u) => { const along = MMT.dot(v, u); return v.map((x, i) => x - along * u[i]); };
      const across = unit(without(b, a));
      Object.assign(state, { from: without(without(normal(size), a), across), a, b: across, others: few.map(() => normal(size)) });
    }
    const code = () => state.from.map((v, i) => v + state.x * state.a[i] + state.y * state.b[i]);

    function show(canvas, { size: n, data }) {
      const pixels = new Uint8Array(n * n * 3);
      for (let p = 0; p < n * n; p++) for (let c = 0; c < 3; c++) pixels[3 * p + c] = Math.round(Math.min(255, Math.max(0, (data[c * n * n + p] + 1) * 127.5)));
      paint(canvas, pixels, n);
    }

    let last = "";
    const draw = latest(async () => {
      error.hidden = true;
      try {
        const begun = performance.now(), heard = painter.hear(idsOf(box.value, painter.words));
        show(big, painter.draw(heard, code()));
        times.textContent = `A drawing took ${Math.round(performance.now() - begun)} ms on your machine.`;
        if (last !== box.value) few.forEach((canvas, i) => show(canvas, painter.draw(heard, state.others[i]))), voice.say(`Drawn: ${box.value}`);
        last = box.value;
        big.setAttribute("aria-label", `A drawing of: ${box.value}`);
      } catch (problem) {
        error.textContent = problem.message;
        error.hidden = false;
        last = times.textContent = "";
        for (const canvas of [big, ...few]) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
        big.setAttribute("aria-label", "No drawing");
        voice.say(problem.message);
      }
      place.dataset.ready = String(+(place.dataset.ready || 0) + 1);
    });

    // the pad for a mouse or a finger, two sliders for keys
    const dot = h("span", { class: "mmt-dot" }), pad = h("div", { class: "mmt-pad", "aria-hidden": true }, dot);
    const slider = (name) => h("input", { type: "range", min: -REACH, max: REACH, step: 0.1, value: 0, "aria-label": `random number ${name === "x" ? "across" : "up"}`, oninput: (event) => to({ [name]: +event.target.value }) });
    const sliders = { x: slider("x"), y: slider("y") };
    function to(where) {
      Object.assign(state, where);
      for (const name of ["x", "y"]) sliders[name].value = state[name];
      dot.style.left = `${50 + (50 * state.x) / REACH}%`;
      dot.style.top = `${50 - (50 * state.y) / REACH}%`;
      return draw();
    }
    function drag(event) {
      if (!event.buttons && event.type !== "pointerdown") return;
      const r = pad.getBoundingClientRect(), part = (v) => REACH * Math.min(1, Math.max(-1, 2 * v - 1));
      to({ x: part((event.clientX - r.left) / r.width), y: -part((event.clientY - r.top) / r.height) });
    }
    pad.addEventListener("pointerdown", (event) => (pad.setPointerCapture(event.pointerId), drag(event)));
    pad.addEventListener("pointermove", drag);

    begin();
    to({ x: 0, y: 0 });
    place.exhibit = { state, box, draw, to };
    return [
      h("label", {}, "Draw: ", box), examples, error,
      h("div", { class: "mmt-two" }, big, h("div", {}, h("p", { class: "mmt-small" }, "Drag: the two directions of the random numbers z in which a drawing changes most."), pad, h("label", {}, "across ", sliders.x), h("label", {}, "up ", sliders.y),
        h("div", { class: "mmt-bar" }, h("button", { type: "button", onclick: () => (begin(), (last = ""), to({ x: 0, y: 0 })) }, "Other random numbers")), times)),
      h("p", { class: "mmt-small" }, "The same sentence, drawn with six other codes:"), row, voice.line,
    ];
  };
})();
