/* The mathematics of the chapters once more, in another language: what a trained model does, in plain
   JavaScript. No library, no network. Read it beside the Python of the same names; it goes

     1. from text to numbers        5. a captioner that looks              9. words that one can add
     2. a few sums                  6. beam search                        10. a generator that draws
     3. recurrent networks          7. questions                          11. voices apart, by the lips
     4. the frozen image network    8. one space for pictures and words

   Numbers lie in Float32Arrays, row after row; a matrix is { shape, data }. The models get the weights
   of torch's state_dict under torch's own names. Sums run in double precision and are stored in single,
   so results differ from torch's in the last digits. */
(function () {
  "use strict";
  const MMT = (window.MMT = window.MMT || {});

  // --- 1. From text to numbers ------------------------------------------------------------------------

  /** A number in half precision, from its 16 bits. */
  function half(bits) {
    const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }

  /** The tensors of a packed file: { about, tensors: [[name, shape, type], …], data: base64 }. Type "f2" is
      half precision. "q10" are whole numbers of ten bits, −511 to 511, and the tensor of the same name with
      ".scale" has a factor for each row. "d6" are such differences from the tensor of another model, from
      which this one was trained on. */
  function unpack(file, base) {
    const text = atob(file.data), bytes = new Uint8Array(text.length), found = {};
    for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
    let at = 0;
    for (const [name, shape, type] of file.tensors) {
      const size = shape.reduce((a, b) => a * b, 1), data = new Float32Array(size);
      if (type === "f2") for (let i = 0; i < size; i++, at += 2) data[i] = half(bytes[at] | (bytes[at + 1] << 8));
      else {
        const bits = +type.slice(1), zero = 2 ** (bits - 1) - 1;
        for (let i = 0, held = 0, count = 0; i < size; i++) {
          for (; count < bits; count += 8) held |= bytes[at++] << count;
          data[i] = (held & (2 * zero + 1)) - zero;
          held >>= bits, (count -= bits);
        }
      }
      found[name] = { shape, data };
    }
    for (const [name, shape, type] of file.tensors)
      if (type !== "f2") {
        const { data } = found[name], scale = found[name + ".scale"].data, size = data.length / shape[0];
        for (let i = 0; i < data.length; i++) data[i] = data[i] * scale[(i / size) | 0] + (type[0] === "d" ? base[name].data[i] : 0);
      }
    return found;
  }

  // --- 2. A few sums ------------------------------------------------------------------------------------

  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const relu = (x) => (x > 0 ? x : 0);
  const each = (x, f) => x.map((v) => f(v));
  const add = (x, y) => x.map((v, i) => v + y[i]);

  /** x W^T + b: rows of x (…, in) become rows (…, out), as torch.nn.Linear. */
  function linear(w, name, x) {
    const { shape: [out, size], data: W } = w[name + ".weight"], b = w[name + ".bias"];
    const rows = x.length / size, y = new Float32Array(rows * out);
    for (let r = 0; r < rows; r++)
      for (let o = 0, from = r * size; o < out; o += 4) {
        // four sums at a time: each x is read once for all of them
        const A = o * size, B = Math.min(o + 1, out - 1) * size, C = Math.min(o + 2, out - 1) * size, D = Math.min(o + 3, out - 1) * size;
        const sums = b ? [0, 1, 2, 3].map((k) => b.data[o + k]) : [0, 0, 0, 0];
        let p = 0, q = 0, s = 0, t = 0;
        for (let i = 0; i < size; i++) {
          const v = x[from + i];
          (p += W[A + i] * v), (q += W[B + i] * v), (s += W[C + i] * v), (t += W[D + i] * v);
        }
        [p, q, s, t].forEach((v, k) => o + k < out && (y[r * out + o + k] = v + sums[k]));
      }
    return y;
  }

  /** Row `i` of a table, as torch.nn.Embedding. */
  function row(table, i) {
    const size = table.shape[1];
    return table.data.subarray(i * size, (i + 1) * size);
  }

  function softmax(x) {
    const most = Math.max(...x), e = x.map((v) => Math.exp(v - most)), sum = e.reduce((a, b) => a + b, 0);
    return e.map((v) => v / sum);
  }

  function logSoftmax(x) {
    let most = -Infinity, sum = 0;
    for (const v of x) most = Math.max(most, v);
    for (const v of x) sum += Math.exp(v - most);
    return x.map((v) => v - most - Math.log(sum));
  }

  /** Σ_i weights_i rows_i: what one reads of a map (L, D). */
  function mean(weights, rows, size) {
    const out = new Float32Array(size);
    for (let d = 0; d < size; d++) {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * rows[i * size + d];
      out[d] = sum;
    }
    return out;
  }

  function dot(x, y, fromX = 0, fromY = 0, size = x.length) {
    let sum = 0;
    for (let i = 0; i < size; i++) sum += x[fromX + i] * y[fromY + i];
    return sum;
  }

  /** At length 1; a vector of zeros stays one. */
  function unit(x) {
    const length = Math.sqrt(dot(x, x));
    return length > 1e-12 ? each(x, (v) => v / length) : x;
  }

  function join(...parts) {
    const out = new Float32Array(parts.reduce((n, p) => n + p.length, 0));
    let at = 0;
    for (const p of parts) out.set(p, at), (at += p.length);
    return out;
  }

  // --- 3. Recurrent networks -----------------------------------------------------------------------------

  /** One step of an LSTM from its four gates (4n): input, forget, new, output. */
  function recur(gates, c) {
    const n = c.length, h = new Float32Array(n), next = new Float32Array(n);
    for (let k = 0; k < n; k++) {
      next[k] = sigmoid(gates[n + k]) * c[k] + sigmoid(gates[k]) * Math.tanh(gates[2 * n + k]);
      h[k] = sigmoid(gates[3 * n + k]) * Math.tanh(next[k]);
    }
    return [h, next];
  }

  /** torch.nn.LSTM over the words of one text: outputs and cells, word by word. */
  function lstm(w, name, words) {
    const part = (which) => ({ [which + ".weight"]: w[`${name}.weight_${which}_l0`], [which + ".bias"]: w[`${name}.bias_${which}_l0`] });
    const own = { ...part("ih"), ...part("hh") }, n = own["hh.weight"].shape[1];
    let h = new Float32Array(n), c = new Float32Array(n);
    return words.map((x) => {
      [h, c] = recur(add(linear(own, "ih", x), linear(own, "hh", h)), c);
      return [h, c];
    });
  }

  /** torch.nn.GRU over the words of one text: its states, word by word. */
  function gru(w, name, words) {
    const own = {};
    for (const which of ["ih", "hh"]) {
      own[which + ".weight"] = w[`${name}.weight_${which}_l0`];
      own[which + ".bias"] = w[`${name}.bias_${which}_l0`];
    }
    const n = own["hh.weight"].shape[1];
    let h = new Float32Array(n);
    return words.map((x) => {
      const i = linear(own, "ih", x), g = linear(own, "hh", h);
      return (h = h.map((before, k) => {
        const r = sigmoid(i[k] + g[k]), z = sigmoid(i[n + k] + g[n + k]);
        return (1 - z) * Math.tanh(i[2 * n + k] + r * g[2 * n + k]) + z * before;
      }));
    });
  }

  // --- 4. The frozen image network -------------------------------------------------------------------------

  /** A convolution of a map (channels, h, w), all channels with all, or each by itself. */
  function convolve(x, layer, w) {
    const { shape: [out, , k], data: W } = w[layer.name + ".weight"], b = w[layer.name + ".bias"].data, s = layer.stride;
    const pad = (n) => (layer.same ? Math.max(0, (Math.ceil(n / s) - 1) * s + k - n) : 2 * layer.padding);
    const size = (n) => Math.floor((n + pad(n) - k) / s) + 1;
    const [channels, H, V] = x.shape, h = size(H), v = size(V), top = pad(H) >> 1, left = pad(V) >> 1;
    const y = new Float32Array(out * h * v);
    for (let o = 0; o < out; o++) y.fill(b[o], o * h * v, (o + 1) * h * v);
    if (k === 1) mix(y, x.data, W, out, channels, H * V);
    else
      for (let o = 0; o < out; o++)
        for (let c = layer.alone ? o : 0; c < (layer.alone ? o + 1 : channels); c++)
          for (let dy = 0; dy < k; dy++)
            for (let dx = 0; dx < k; dx++) {
              const weight = W[((layer.alone ? o : o * channels + c) * k + dy) * k + dx];
              const from = Math.max(0, Math.ceil((left - dx) / s)), to = Math.min(v, Math.floor((V - 1 + left - dx) / s) + 1);
              for (let i = 0; i < h; i++) {
                const at = i * s + dy - top;
                if (at < 0 || at >= H) continue;
                const line = (c * H + at) * V + dx - left, here = (o * h + i) * v;
                for (let j = from; j < to; j++) y[here + j] += weight * x.data[line + j * s];
              }
            }
    if (layer.relu6) for (let i = 0; i < y.length; i++) y[i] = y[i] < 0 ? 0 : y[i] > 6 ? 6 : y[i];
    return { shape: [out, h, v], data: y };
  }

  /** y += W x, for rows x of n numbers: four rows out and two places at a time, so that the sums stay in
      registers. It is the same loop over o, c and p, three times as fast. */
  function mix(y, x, W, out, channels, n) {
    for (let o = 0; o < out; o += 4) {
      const A = o * channels, B = Math.min(o + 1, out - 1) * channels, C = Math.min(o + 2, out - 1) * channels, D = Math.min(o + 3, out - 1) * channels;
      for (let p = 0; p < n; p += 2) {
        const next = p + 1 < n ? 1 : 0;
        let a = 0, b = 0, c = 0, d = 0, a1 = 0, b1 = 0, c1 = 0, d1 = 0;
        for (let k = 0, at = p; k < channels; k++, at += n) {
          const u = x[at], v = x[at + next], wa = W[A + k], wb = W[B + k], wc = W[C + k], wd = W[D + k];
          (a += wa * u), (b += wb * u), (c += wc * u), (d += wd * u);
          (a1 += wa * v), (b1 += wb * v), (c1 += wc * v), (d1 += wd * v);
        }
        const here = o * n + p, rows = Math.min(4, out - o);
        for (let r = 0; r < rows; r++) {
          y[here + r * n] += r === 0 ? a : r === 1 ? b : r === 2 ? c : d;
          if (next) y[here + r * n + 1] += r === 0 ? a1 : r === 1 ? b1 : r === 2 ? c1 : d1;
        }
      }
    }
  }

  /** EfficientNet-lite0 up to its map, or to its final vector: blocks of convolutions, some added to what they began with. */
  class Encoder {
    constructor(file) {
      this.about = file.about;
      this.weights = unpack(file);
    }

    /** A picture, RGB bytes (size · size · 3), as a map { shape: [112, 6, 6], data }. */
    map(pixels, size) {
      const { mean, std } = this.about, n = size * size, x = new Float32Array(3 * n);
      for (let p = 0; p < n; p++) for (let c = 0; c < 3; c++) x[c * n + p] = (pixels[3 * p + c] / 255 - mean) / std;
      let y = { shape: [3, size, size], data: x };
      for (const block of this.about.blocks) {
        const before = y;
        for (const layer of block.layers) y = convolve(y, layer, this.weights);
        if (block.add) y.data.forEach((v, i, all) => (all[i] = v + before.data[i]));
      }
      if (this.about.layer !== "vector") return y;
      const places = y.shape[1] * y.shape[2]; // one vector: the means of all places
      return { shape: [y.shape[0], 1, 1], data: Float32Array.from({ length: y.shape[0] }, (_, c) => y.data.subarray(c * places, (c + 1) * places).reduce((a, b) => a + b, 0) / places) };
    }
  }

  /** Its cells as rows (L, C), standardized as in training. */
  function cells(map, mean, scale) {
    const [channels, h, v] = map.shape, n = h * v, out = new Float32Array(n * channels);
    for (let i = 0; i < n; i++)
      for (let c = 0; c < channels; c++) out[i * channels + c] = (map.data[c * n + i] - mean[c]) * scale[c];
    return out;
  }

  // --- 5. a captioner that looks (Show, Attend and Tell) -------------------------------------------

  /** Annotations of the cells (L, C): content × position, or content + position. */
  function annotate(w, name, x, { how, bound, floor = 0.3 }) {
    const y = linear(w, name + ".content", x), P = w[name + ".places"], Q = w[name + ".beside"];
    if (how !== "none") y.forEach((v, i) => (y[i] = how === "product" ? v * (floor + P.data[i]) : v + P.data[i]));
    if (bound !== "none") y.forEach((v, i) => (y[i] = bound === "tanh" ? Math.tanh(v) : relu(v)));
    if (!Q) return y;
    const L = Q.shape[0], D = y.length / L, q = Q.shape[1], out = new Float32Array(L * (D + q));
    for (let i = 0; i < L; i++) out.set(y.subarray(i * D, (i + 1) * D), i * (D + q)), out.set(row(Q, i), i * (D + q) + D);
    return out;
  }

  /** Where a word that has just been said is found: π over the cells; what is missing to 1 is nowhere. */
  function pointTo(w, name, word, keys, L) {
    const query = linear(w, name + ".query", word), k = query.length, scale = Math.exp(w[name + ".log_scale"].data[0]) / Math.sqrt(k);
    const scores = Array.from({ length: L }, (_, i) => scale * dot(keys, query, i * k, 0, k));
    const nothing = linear(w, name + ".nothing", word)[0];
    return { scores, nothing, weights: softmax([...scores, nothing]).slice(0, L) };
  }

  class Captioner {
    constructor(file, base) {
      this.config = file.about.config;
      this.words = file.about.words;
      this.w = unpack(file, base && base.w);
      this.bos = this.words.indexOf("<bos>");
      this.eos = this.words.indexOf("<eos>");
      this.banned = ["<pad>", "<bos>", "<unk>"].map((word) => this.words.indexOf(word)).filter((i) => i >= 0);
    }

    /** Look at a map once: what stays the same while a caption is written, and the first state. */
    begin(map) {
      const { w, config: c } = this, x = cells(map, w["eyes.mean"].data, w["eyes.scale"].data), L = c.grid[0] * c.grid[1];
      const bound = c.places === "product" ? "tanh" : "relu";
      const a = c.prepare ? annotate(w, "prepare", x, { how: c.places, bound }) : x, D = a.length / L;
      const average = mean(new Float32Array(L).fill(1 / L), a, D), keys = linear(w, "key", a);
      const first = c.start === "mean" ? each(linear(w, "first", average), Math.tanh) : new Float32Array(2 * c.hidden);
      this.memory = {
        a, D, L, keys,
        pooled: c.query === "state" ? null : linear(w, "ask_pooled", average),
        foundBy: c.point ? linear(w, "pointer.key", x) : null,
      };
      return { h: first.slice(0, c.hidden), c: first.slice(c.hidden), said: new Float32Array(L) };
    }

    /** Read a word, look, and score the next one. */
    step(word, state) {
      const { w, config: c, memory: m } = this, y = row(w["words.weight"], word);
      let gates = linear(w, "word_gates", y), said = state.said, found = null, points = null;
      if (c.point) {
        points = pointTo(w, "pointer", y, m.foundBy, m.L).weights;
        found = mean(points, m.a, m.D);
        gates = add(gates, linear(w, "found_gates", found));
        said = said.map((v, i) => Math.min(2, v + points[i]));
      }
      const alpha = softmax(this.scores(state.h, y, said));
      const seen = c.mode === "hard" ? alpha.map((v, i) => +(i === alpha.indexOf(Math.max(...alpha)))) : alpha;
      const beta = sigmoid(linear(w, "gate", state.h)[0]);
      const z = each(mean(seen, m.a, m.D), (v) => beta * v);
      const [h, cell] = recur(add(gates, linear(w, "state_gates", join(state.h, z))), state.c);
      let x = add(add(y, linear(w, "out_h", h)), linear(w, "out_z", z));
      if (found) x = add(x, linear(w, "out_found", found));
      return { scores: linear(w, "output", each(x, Math.tanh)), state: { h, c: cell, said }, looks: seen, points };
    }

    /** How well each cell answers what the state asks. */
    scores(h, word, said) {
      const { w, config: c, memory: m } = this, A = c.attention, query = new Float32Array(A);
      const asks = [c.query !== "pooled" && linear(w, "ask_state", h), m.pooled, c.word_asks && linear(w, "ask_word", word)];
      for (const part of asks) if (part) part.forEach((v, i) => (query[i] += v));
      const marks = c.cross_off ? w["mark_said.weight"].data : null;
      return Array.from({ length: m.L }, (_, i) => {
        let sum = 0;
        for (let k = 0; k < A; k++) {
          const key = m.keys[i * A + k] + (marks ? marks[k] * said[i] : 0);
          sum += c.score === "dot" ? key * query[k] : w["score.weight"].data[k] * Math.tanh(key + query[k]);
        }
        return c.score === "dot" ? sum / Math.sqrt(A) : sum;
      });
    }

    /** The best caption of a map: its words, and where the model looked before each, and after it. */
    write(map, { width = 5, lengthPenalty = 0, limit = 20 } = {}) {
      const best = beamSearch(this, this.begin(map), { width, lengthPenalty, limit });
      const ids = [this.bos, ...best.ids], looks = [], points = [];
      let state = this.begin(map);
      for (const id of ids) {
        const next = this.step(id, state);
        looks.push(next.looks), points.push(next.points), (state = next.state);
      }
      return { words: best.ids.map((id) => this.words[id]), looks: looks.slice(0, -1), points: points.slice(1), logprob: best.logprob };
    }
  }

  // --- 6. Beam search (Show and Tell) ------------------------------------------------------------------------------

  /** Keep the `width` best unfinished captions alive; return the best that ends. Equals keep their order. */
  function beamSearch(model, start, { width, lengthPenalty, limit }) {
    const order = (a, b) => b.total - a.total || a.place - b.place;
    let beam = [{ ids: [], total: 0, state: start, last: model.bos }], finished = null;
    for (let t = 0; t <= limit; t++) {
      const candidates = [];
      beam.forEach((path, from) => {
        const next = model.step(path.last, path.state), logp = logSoftmax(next.scores);
        for (const id of model.banned) logp[id] = -Infinity; // they keep their probability and are never chosen
        const best = [...logp.keys()].sort((i, j) => logp[j] - logp[i] || i - j).slice(0, width + 1);
        best.forEach((id, rank) =>
          candidates.push({ ids: [...path.ids, id], total: path.total + logp[id], last: id, state: next.state, place: from * (width + 1) + rank }));
      });
      const ranked = candidates.filter((one) => one.total > -Infinity).sort(order);
      for (const one of ranked.slice(0, width).filter((one) => one.last === model.eos)) {
        const score = one.total / (t + 1) ** lengthPenalty;
        if (!finished || score > finished.score) finished = { ids: one.ids.slice(0, -1), logprob: one.total, score };
      }
      if (t === limit) break;
      beam = ranked.filter((one) => one.last !== model.eos).slice(0, width);
      if (!beam.length || (finished && finished.score >= beam[0].total / (limit + 1) ** lengthPenalty)) break;
    }
    return finished || { ids: beam[0].ids.slice(0, limit), logprob: beam[0].total };
  }

  // --- 7. Questions (visual question answering) ---------------------------------------------------------------------------------

  class Questions {
    constructor(file) {
      this.config = file.about.config;
      this.words = file.about.words;
      this.answers = file.about.answers;
      this.w = unpack(file);
    }

    /** Look at a picture: its contents (L, C), and the annotations of its cells or its one vector. */
    see(map) {
      const { w, config: c } = this;
      if (c.fusion === "question") return null;
      const [channels, H, V] = map.shape, [, h, v] = Array.isArray(c.image) ? c.image : [0, H, V];
      const seen = h < H ? pooled(map, h, v) : map, x = cells(seen, w["eyes.mean"].data, w["eyes.scale"].data), L = x.length / channels;
      if (c.unit) for (let i = 0; i < L; i++) x.set(unit(x.subarray(i * channels, (i + 1) * channels)), i * channels);
      if (c.fusion === "stacked") return { x, L, cells: annotate(w, "cells", x, { how: c.places, bound: "tanh" }) };
      const flat = new Float32Array(x.length); // torch lays a map out channel by channel
      for (let i = 0; i < L; i++) for (let k = 0; k < channels; k++) flat[k * L + i] = x[i * channels + k];
      return { x, L, vector: each(linear(w, "picture", flat), Math.tanh) };
    }

    /** What a word finds in the picture: what is where it points, whether there is any, and how much. */
    ground(word, seen) {
      const { w, config: c } = this, D = c.joint;
      const { scores, nothing, weights } = pointTo(w, "grounding.pointer", word, seen.keys, seen.L);
      const fits = scores.map((s) => sigmoid(s - nothing));
      const counted = c.counts ? mean(fits, seen.gates, c.counts) : new Float32Array(0);
      return { weights, vector: join(mean(weights, seen.cells, D), [Math.max(...fits)], counted) };
    }

    /** Probabilities of the answers to a question (ids) about a map, and where it looked. */
    answer(map, ids) {
      const { w, config: c } = this, seen = this.see(map), found = [];
      if (c.point) {
        seen.keys = linear(w, "grounding.pointer.key", seen.x);
        if (c.counts) seen.gates = each(linear(w, "grounding.gates", seen.x), sigmoid);
      }
      let words = ids.map((id) => {
        const y = row(w["words.weight"], id), x = each(y, Math.tanh);
        if (!c.point) return x;
        found.push(this.ground(y, seen));
        return join(x, found[found.length - 1].vector);
      });
      const held = [];
      for (let layer = 0; layer < c.layers; layer++) {
        const states = lstm(w, `lstm.${layer}`, words);
        words = states.map(([h]) => h);
        held.push(states[states.length - 1]);
      }
      const [h, cell] = held[held.length - 1], average = () => each(words.reduce(add), (v) => v / words.length);
      const read = { hidden: () => h, cell: () => cell, mean: () => join(h, average()), all: () => join(...held.flatMap(([o, k]) => [k, o])) };
      let q = read[c.state]();
      if (c.joint) q = each(linear(w, "question", q), Math.tanh);
      let x = q;
      const looks = [];
      if (c.fusion === "stacked")
        for (let k = 0; k < c.looks; k++) {
          const asked = linear(w, `look.${k}.ask`, x), keys = linear(w, `look.${k}.key`, seen.cells), A = asked.length;
          const f = c.bound === "tanh" ? Math.tanh : relu, score = w[`look.${k}.score.weight`].data;
          const alpha = softmax(Array.from({ length: seen.L }, (_, i) => asked.reduce((sum, v, a) => sum + score[a] * f(keys[i * A + a] + v), 0)));
          x = add(x, mean(alpha, seen.cells, c.joint)); // asks again, knowing what it saw
          looks.push(alpha);
        }
      else if (c.fusion === "product") x = q.map((v, i) => v * seen.vector[i]);
      else if (c.fusion === "sum") x = add(q, seen.vector);
      else if (c.fusion === "concatenation") x = join(q, seen.vector);
      for (let k = 0; k < c.mlp.length; k++) x = each(linear(w, `hidden.${k}`, x), c.bound === "tanh" ? Math.tanh : relu);
      const scores = linear(w, "output", x);
      if (c.copies) {
        // a word of the question that is an answer too speaks for itself
        const asks = linear(w, "asks", q);
        ids.forEach((id, t) => c.copies[id] >= 0 && (scores[c.copies[id]] += dot(asks, found[t].vector, 0, c.joint, asks.length)));
      }
      return { p: softmax(scores), looks, points: found.map((one) => one.weights) };
    }
  }

  /** The means of blocks of cells: torch's adaptive average pooling, where it divides evenly. */
  function pooled(map, h, v) {
    const [channels, H, V] = map.shape, sy = H / h, sx = V / v, out = new Float32Array(channels * h * v);
    for (let c = 0; c < channels; c++)
      for (let y = 0; y < H; y++)
        for (let x = 0; x < V; x++) out[(c * h + ((y / sy) | 0)) * v + ((x / sx) | 0)] += map.data[(c * H + y) * V + x] / (sy * sx);
    return { shape: [channels, h, v], data: out };
  }

  // --- 8. One space for pictures and words (joint embedding) --------------------------------------------------------------

  class Space {
    constructor(file) {
      this.about = file.about;
      this.config = file.about.config;
      this.words = file.about.words;
      this.w = unpack(file);
    }

    /** A map as a point on the sphere. */
    picture(map) {
      const { w, config: c } = this, x = cells(map, w["eyes.mean"].data, w["eyes.scale"].data), L = map.shape[1] * map.shape[2];
      let rows = x;
      if (c.detectors) {
        const kernel = w["detectors.weight"], own = { "d.weight": { shape: kernel.shape.slice(0, 2), data: kernel.data }, "d.bias": w["detectors.bias"] };
        rows = each(linear(own, "d", x), relu);
      }
      const K = rows.length / L, flat = new Float32Array(rows.length);
      for (let i = 0; i < L; i++) for (let k = 0; k < K; k++) flat[k * L + i] = rows[i * K + k];
      return unit(linear(w, "image", flat));
    }

    /** Words (ids) as a point on the sphere: the sum of their vectors, or what a GRU holds behind them. */
    text(ids) {
      const words = ids.map((id) => row(this.w["words.weight"], id));
      return unit(this.config.text === "gru" ? gru(this.w, "sentence", words).pop() : words.reduce(add));
    }
  }

  // --- 9. Words that one can add (word2vec) ---------------------------------------------------------------------------

  class Words {
    constructor(file) {
      this.words = file.about.words;
      this.rows = unpack(file).rows;
      this.ids = new Map(this.words.map((word, i) => [word, i]));
      for (let i = 0; i < this.words.length; i++) row(this.rows, i).set(unit(row(this.rows, i)));
    }

    /** The words nearest to Σ signs · vectors, by their cosine; those that were given do not count. */
    nearest(terms, top = 10) {
      const size = this.rows.shape[1], sum = new Float32Array(size), given = new Set(terms.map(([, word]) => this.ids.get(word)));
      for (const [sign, word] of terms) row(this.rows, this.ids.get(word)).forEach((v, d) => (sum[d] += sign * v));
      const goal = unit(sum);
      return [...this.words.keys()]
        .filter((i) => !given.has(i))
        .map((i) => [this.words[i], dot(row(this.rows, i), goal)])
        .sort((a, b) => b[1] - a[1])
        .slice(0, top);
    }
  }

  // --- 10. A generator that draws a sentence (text to image) ---------------------------------------------------------------

  /** Batch normalization in use: the mean and the variance are those that training has counted. */
  function normalize(w, name, x, channels) {
    const [mu, v, g, b] = ["running_mean", "running_var", "weight", "bias"].map((part) => w[`${name}.${part}`].data), n = x.length / channels;
    for (let c = 0; c < channels; c++) {
      const factor = g[c] / Math.sqrt(v[c] + 1e-5);
      for (let i = c * n; i < (c + 1) * n; i++) x[i] = (x[i] - mu[c]) * factor + b[c];
    }
    return x;
  }

  /** A convolution the other way round: each number of x (channels, n, n) is spread over k × k numbers. */
  function spread(x, n, { shape: [channels, out, k], data: W }, stride, padding) {
    const size = (n - 1) * stride - 2 * padding + k, y = new Float32Array(out * size * size);
    for (let c = 0; c < channels; c++)
      for (let o = 0; o < out; o++)
        for (let dy = 0; dy < k; dy++)
          for (let dx = 0; dx < k; dx++) {
            const weight = W[((c * out + o) * k + dy) * k + dx];
            for (let i = 0; i < n; i++) {
              const at = i * stride + dy - padding;
              if (at < 0 || at >= size) continue;
              for (let j = 0, to = dx - padding; j < n; j++, to += stride)
                if (to >= 0 && to < size) y[(o * size + at) * size + to] += weight * x[(c * n + i) * n + j];
            }
          }
    return [y, size];
  }

  class Painter {
    constructor(file) {
      this.config = file.about.config;
      this.words = file.about.words;
      this.w = unpack(file);
    }

    /** A sentence (ids) as a vector: the mean of the states of a recurrence. */
    hear(ids) {
      const states = gru(this.w, "encoder.recur", ids.map((id) => row(this.w["encoder.embed.weight"], id)));
      return linear(this.w, "encoder.out", each(states.reduce(add), (v) => v / states.length));
    }

    /** Draw what was heard, with random numbers z: (3, size, size) in −1…1. */
    draw(heard, z) {
      const { w, config: c } = this, projected = normalize(w, "generator.listen.1", linear(w, "generator.listen.0", heard), c.projection);
      let x = join(each(projected, (v) => (v > 0 ? v : 0.2 * v)), z), n = 1, layer = 0;
      for (; w[`generator.draw.${layer + 1}.weight`]; layer += 3) {
        const kernel = w[`generator.draw.${layer}.weight`];
        [x, n] = layer ? spread(x, n, kernel, 2, 1) : spread(x, n, kernel, 1, 0);
        x = each(normalize(w, `generator.draw.${layer + 1}`, x, kernel.shape[1]), relu);
      }
      [x, n] = spread(x, n, w[`generator.draw.${layer}.weight`], 2, 1);
      return { size: n, data: each(x, Math.tanh) };
    }
  }

  // --- 11. Voices apart, by the lips (the cocktail party) -------------------------------------------------------------------------

  /** Sines and cosines of all multiples of 2π / n. */
  const waves = {};
  function turns(n) {
    return (waves[n] = waves[n] || [Math.cos, Math.sin].map((f) => Float64Array.from({ length: n }, (_, i) => f((2 * Math.PI * i) / n))));
  }

  const hann = (n) => Float64Array.from({ length: n }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / n));

  class Party {
    constructor(file) {
      this.config = file.about.config;
      this.w = unpack(file);
    }

    /** The spectrogram of a wave: real and imaginary parts, (bins, frames) each. */
    transform(wave) {
      const { n_fft: n, hop, pad, window } = this.config, frames = Math.floor((wave.length + 2 * pad - window) / hop) + 1, bins = n / 2 + 1;
      const w = hann(n), [cos, sin] = turns(n), re = new Float32Array(bins * frames), im = new Float32Array(bins * frames);
      for (let m = 0; m < frames; m++) {
        const x = w.map((v, i) => v * (wave[m * hop + i - pad] || 0));
        for (let f = 0; f < bins; f++) {
          let a = 0, b = 0;
          for (let i = 0, at = 0; i < n; i++, at = (at + f) % n) (a += x[i] * cos[at]), (b -= x[i] * sin[at]);
          (re[f * frames + m] = a), (im[f * frames + m] = b);
        }
      }
      return { re, im, bins, frames, length: wave.length };
    }

    /** The wave of a spectrogram that a mask was laid on: overlap and add. */
    inverse(Y, mask) {
      const { n_fft: n, hop, pad } = this.config, w = hann(n), [cos, sin] = turns(n), total = (Y.frames - 1) * hop + n;
      const sum = new Float64Array(total), weight = new Float64Array(total);
      for (let m = 0; m < Y.frames; m++)
        for (let i = 0; i < n; i++) {
          let v = 0;
          for (let f = 0, at = 0; f < Y.bins; f++, at = (at + i) % n) {
            const k = f * Y.frames + m, part = Y.re[k] * cos[at] - (f && f < n / 2 ? Y.im[k] * sin[at] : 0);
            v += mask[k] * (f && f < n / 2 ? 2 * part : part);
          }
          (sum[m * hop + i] += (v / n) * w[i]), (weight[m * hop + i] += w[i] * w[i]);
        }
      return Float32Array.from({ length: Y.length }, (_, t) => (t + pad < total ? sum[t + pad] / Math.max(1e-3, weight[t + pad]) : 0));
    }

    /** A convolution over time of x (channels, n), as torch.nn.Conv1d with as much padding as it needs. */
    over(name, x, n, dilation = 1) {
      const { shape: [out, channels, k], data: W } = this.w[name + ".weight"], b = this.w[name + ".bias"].data, y = new Float32Array(out * n);
      for (let o = 0; o < out; o++) {
        y.fill(b[o], o * n, (o + 1) * n);
        for (let c = 0; c < channels; c++)
          for (let d = 0; d < k; d++) {
            const weight = W[(o * channels + c) * k + d], shift = (d - (k >> 1)) * dilation;
            for (let t = Math.max(0, -shift); t < Math.min(n, n - shift); t++) y[o * n + t] += weight * x[c * n + t + shift];
          }
      }
      return y;
    }

    block(name, x, n) {
      const y = this.over(name + ".0", x, n);
      return each(normalize(this.w, name + ".1", y, y.length / n), relu);
    }

    /** Residual convolutions of a trunk. */
    residual(name, x, n, dilations) {
      dilations.forEach((dilation, i) => {
        const y = each(normalize(this.w, `${name}.steps.${i}.0`, x.slice(), this.config.width), relu);
        x = add(x, this.over(`${name}.steps.${i}.2`, y, n, dilation));
      });
      return x;
    }

    last(name, x, n) {
      return this.over(name + ".last.2", each(normalize(this.w, name + ".last.0", x.slice(), this.config.width), relu), n);
    }

    /** The first voice's mask, within its bounds. */
    bounded(z) {
      const [low, high] = this.config.bounds, middle = (low + high) / 2, half = (high - low) / 2;
      return each(z, (v) => middle + half * Math.tanh(v / half));
    }

    /** By how much each voice (a mask) goes with each face, at every frame, and so the mask of the first face. */
    match(masks, Y, seen) {
      const { config: c } = this, M = Y.frames, wide = 16, around = Math.round((1.6 * c.rate) / c.hop);
      const voices = masks.map((mask) => {
        const y = new Float32Array(wide * M);
        for (let k = 0; k < wide; k++) {
          const low = Math.floor((k * Y.bins) / wide), high = Math.ceil(((k + 1) * Y.bins) / wide);
          for (let t = 0; t < M; t++) {
            let power = 0;
            for (let i = low * M + t; i < high * M; i += M) power += mask[i] ** 2 * (Y.re[i] ** 2 + Y.im[i] ** 2);
            y[k * M + t] = ((power / (high - low) + 1e-6) ** (c.compression / 2) - c.standard[0]) * c.standard[1];
          }
        }
        return this.over("match.voice", y, M);
      });
      const faces = seen.map((face) => this.over("match.face", face, M));
      const fits = voices.map((voice) => faces.map((face) => {
        const both = add(voice, face), x = this.over("match.evidence", this.block("match.compare.2", each(normalize(this.w, "match.compare.0", both, both.length / M), relu), M), M);
        return x.map((_, t) => {
          const near = x.subarray(Math.max(0, t - around), t + around + 1);
          return near.reduce((a, b) => a + b, 0) / near.length;
        });
      }));
      const as = Float32Array.from({ length: M }, (_, t) => sigmoid(fits[0][0][t] + fits[1][1][t] - fits[0][1][t] - fits[1][0][t])); // as they are, not exchanged
      return masks[0].map((m, i) => as[i % M] * m + (1 - as[i % M]) * masks[1][i]);
    }

    /** The masks of two voices, from what is heard and from both mouths, (pictures, 384) each. */
    masks(Y, mouths) {
      const { config: c } = this, M = Y.frames, rest = (mask) => mask.map((v) => 1 - v); // both voices together are the mixture
      let x = Y.re.map((re, i) => (Math.hypot(re, Y.im[i]) ** c.compression - c.standard[0]) * c.standard[1]);
      x = this.block("hear.layers.0", x, M);
      const seen = mouths.map((mouth) => {
        const size = c.face[0] * c.face[1], T = mouth.length / size, flat = new Float32Array(mouth.length);
        for (let t = 0; t < T; t++) for (let k = 0; k < size; k++) flat[k * T + t] = mouth[t * size + k];
        const y = c.visual.reduce((y, _, layer) => this.block(`watch.layers.${layer}`, y, T), flat), own = new Float32Array((y.length / T) * M);
        for (let m = 0; m < M; m++) {
          const at = Math.floor(((m * c.hop + (c.window >> 1) - c.pad) * c.fps) / c.rate), t = Math.min(T - 1, Math.max(0, at));
          for (let k = 0; k < y.length / T; k++) own[k * M + m] = y[k * T + t];
        }
        return own;
      });
      const middle = (c.bounds[0] + c.bounds[1]) / 2;
      let start = null, y;
      if (c.by_ear.length) { // first by ear, in any order; then whose is whose; the trunk begins with that
        if (this.w["ear.first.weight"]) x = this.over("ear.first", x, M);
        x = this.residual("ear", x, M, c.by_ear);
        const heard = this.bounded(this.last("ear", x, M));
        start = each(this.match([heard, rest(heard)], Y, seen), (v) => v - middle);
        y = add(add(this.over("trunk.first", join(each(x, relu), ...seen), M), x), this.over("told", start, M));
      } else y = this.over("trunk.first", join(x, ...seen), M);
      const z = this.last("trunk", this.residual("trunk", y, M, c.dilations), M), first = this.bounded(start ? add(z, start) : z);
      return [first, rest(first)];
    }

    /** The voices of a mixture, to whom these mouths belong. */
    separate(wave, mouths) {
      const Y = this.transform(wave), masks = this.masks(Y, mouths);
      return { Y, masks, voices: masks.map((mask) => this.inverse(Y, mask)) };
    }
  }

  Object.assign(MMT, { unpack, linear, row, softmax, sigmoid, unit, dot, join, add, each, Encoder, Captioner, Questions, Space, Words, Painter, Party });
})();
