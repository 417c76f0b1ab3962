"use strict";
(() => {
  const root = document.documentElement;
  const el = (name, props = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(props)) {
      if (key in node) node[key] = value; else node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  };

  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // On paper nothing can be opened.
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));

  // Payloads are base64 of gzip of JSON: a page of ten runs stays small, and text in it cannot end the script.
  const unpack = async (id) => {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };

  // Tables: a click on a header sorts by it, keeping the groups (averages) together on top.
  const key = (row, column) => {
    const cell = row.cells[column];
    const shown = cell.classList.contains("number") ? cell.textContent.replaceAll(",", "").replace("−", "-") : cell.textContent;
    const text = cell.dataset.sort ?? shown.trim();
    return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
  };
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = el("button", { type: "button" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === (head.classList.contains("number") ? "descending" : "ascending");
        const way = head.classList.contains("number") ? (up ? "ascending" : "descending") : (up ? "descending" : "ascending");
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", way);
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row) => [row.classList.contains("group"), key(row, column), row]);
        rows.sort((a, b) => b[0] - a[0] || (a[1] === "" || b[1] === "" ? compare(a[1], b[1])
          : compare(a[1], b[1]) * (way === "ascending" ? 1 : -1)));
        body.append(...rows.map((entry) => entry[2]));
      });
    });
  }

  // Routing: the squares are in the page; choosing a task recolours them.
  const figures = document.querySelectorAll("[data-routing]");
  if (figures.length) {
    unpack("routing-data").then((runs) => {
      figures.forEach((figure) => {
        const run = runs[Number(figure.dataset.routing)];
        const cells = figure.querySelectorAll(".cell");
        const [task, phase] = ["task", "phase"].map((name) => figure.querySelector(`[data-choose=${name}]`));
        const paint = () => {
          const loads = run.loads[`${task.selectedIndex}/${phase.selectedIndex}`];
          figure.querySelector("figcaption .empty")?.remove();
          cells.forEach((cell, i) => {
            const share = loads ? loads[i] / 10000 : run.chance;
            const lean = Math.max(-1, Math.min(1, (share - run.chance) / run.chance));
            const end = lean < 0 ? "--low" : "--high";
            cell.setAttribute("style", `fill:color-mix(in oklab, var(${end}) ${Math.round(Math.abs(lean) * 100)}%, var(--middle))`);
            cell.firstChild.textContent = `${cell.dataset.where}: ${loads ? (share * 100).toFixed(1) : "no tokens"}% (chance ${(run.chance * 100).toFixed(1)}%)`;
          });
        };
        task.addEventListener("change", paint);
        phase.addEventListener("change", paint);
      });
    });
  }

