  // The error browser: only the rows in view are in the page, whatever the number of documents.
  const browser = document.getElementById("browser");
  if (browser) {
    const get = (id) => document.getElementById(id);
    const [list, rows, detail, found] = ["list", "rows", "detail", "found"].map(get);
    const controls = { find: get("find"), task: get("by-task"), system: get("by-system"), verdict: get("by-verdict"), other: get("by-other") };
    const HEIGHT = 52;
    let data = null, shown = [], chosen = -1, texts = null;

    const right = (system, i) => data.answers[system].value[i] === null ? null : data.answers[system].value[i] >= 1;
    const mark = (system, i) => ({ true: "✓", false: "✗", null: "·" })[right(system, i)];
    const textOf = (i) => {
      texts ??= new Array(data.document.length);
      texts[i] ??= [data.document[i], data.prompt[i], data.target[i], ...data.answers.map((a) => a.response[i])].join("\n").toLowerCase();
      return texts[i];
    };

    const draw = () => {
      const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 4);
      const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + 4);
      rows.replaceChildren();
      for (let n = first; n < last; n++) {
        const i = shown[n];
        const marks = el("span", { className: "marks" });
        data.systems.forEach((_, system) => {
          const verdict = right(system, i);
          marks.append(el("span", { className: verdict === null ? "muted" : verdict ? "good" : "bad", title: data.systems[system] }, mark(system, i)));
        });
        const row = el("div", { className: "doc", id: `doc-${n}`, role: "option", "aria-selected": String(n === chosen) },
          marks, el("div", {}, el("strong", {}, data.tasks[data.task[i]]), ` ${data.document[i]}`),
          el("div", { className: "muted" }, data.prompt[i].slice(0, 160).replace(/\s+/g, " ")));
        row.style.top = `${n * HEIGHT}px`;
        row.addEventListener("click", () => choose(n));
        rows.append(row);
      }
    };

    const block = (title, text, note = "") => [el("h4", {}, title, note ? el("small", {}, ` ${note}`) : ""), el("pre", {}, ...highlight(text ?? "–"))];
    const highlight = (text) => {
      const word = controls.find.value.trim().toLowerCase();
      if (!word) return [text];
      const parts = [], low = text.toLowerCase();
      let at = 0, hit;
      // Lower case may change the length of exotic letters; the marks are then left out.
      if (low.length !== text.length) return [text];
      while ((hit = low.indexOf(word, at)) >= 0) {
        parts.push(text.slice(at, hit), el("mark", {}, text.slice(hit, hit + word.length)));
        at = hit + word.length;
      }
      return [...parts, text.slice(at)];
    };
    const show = (i) => {
      const nodes = [el("p", {}, el("strong", {}, data.tasks[data.task[i]]), ` · ${data.document[i]}`),
        ...block("Prompt", data.prompt[i]), ...block("Gold", data.target[i])];
      data.systems.forEach((name, system) => {
        const answers = data.answers[system];
        const value = answers.value[i];
        const notes = [mark(system, i), value !== null && value > 0 && value < 1 ? `score ${value}` : "",
          answers.cut[i] ? "cut off at the token limit" : "", answers.other[i] ? "asked with another prompt" : ""];
        nodes.push(...block(name, answers.response[i], notes.filter(Boolean).join(" · ")));
        if (answers.answer[i] !== null && answers.answer[i] !== answers.response[i]) nodes.push(...block(`${name}: read as`, answers.answer[i]));
      });
      detail.replaceChildren(...nodes);
      detail.scrollTop = 0;
    };
    const choose = (n) => {
      if (!shown.length) return;
      chosen = Math.max(0, Math.min(shown.length - 1, n));
      const top = chosen * HEIGHT;
      if (top < list.scrollTop) list.scrollTop = top;
      if (top + HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + HEIGHT - list.clientHeight;
      draw();
      list.setAttribute("aria-activedescendant", `doc-${chosen}`);
      show(shown[chosen]);
    };
    const filter = () => {
      if (!data) { start(); return; }
      const word = controls.find.value.trim().toLowerCase();
      const task = controls.task.value, system = Number(controls.system.value), verdict = controls.verdict.value;
      const other = controls.other?.value ?? "";
      shown = [];
      for (let i = 0; i < data.document.length; i++) {
        if (task !== "" && data.task[i] !== Number(task)) continue;
        const ok = right(system, i), answers = data.answers[system];
        if (verdict === "wrong" && ok !== false) continue;
        if (verdict === "right" && ok !== true) continue;
        if (verdict === "unread" && (answers.response[i] === null || answers.answer[i])) continue;
        if (verdict === "cut" && !answers.cut[i]) continue;
        if (other !== "" && (ok === null || right(Number(other), i) === null || ok === right(Number(other), i))) continue;
        if (word && !textOf(i).includes(word)) continue;
        shown.push(i);
      }
      chosen = -1;
      rows.style.height = `${shown.length * HEIGHT}px`;
      list.scrollTop = 0;
      found.textContent = `${shown.length.toLocaleString("en")} documents`;
      draw();
    };

    let timer;
    for (const control of Object.values(controls)) {
      control?.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(filter, control === controls.find ? 150 : 0); });
    }
    list.addEventListener("scroll", () => requestAnimationFrame(draw));
    list.addEventListener("keydown", (event) => {
      const page = Math.floor(list.clientHeight / HEIGHT);
      const step = { ArrowDown: chosen + 1, ArrowUp: chosen - 1, PageDown: chosen + page, PageUp: chosen - page, Home: 0, End: shown.length - 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      choose(step);
    });
    let started = false;
    const start = () => {
      if (started) return;
      started = true;
      unpack("documents-data").then((content) => { data = content; filter(); });
    };
    // Unpacking waits until the reader comes near.
    new IntersectionObserver((entries, observer) => {
      if (entries.some((entry) => entry.isIntersecting)) { observer.disconnect(); start(); }
    }, { rootMargin: "400px" }).observe(browser);
  }
})();
