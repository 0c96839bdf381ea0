"use strict";
(() => {
  const make = (tag, attributes, text) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text) element.textContent = text;
    return element;
  };

  // Before anything is drawn, so that nothing moves or changes its colour later.
  // Theme: as the system says, until the reader chooses.
  const root = document.documentElement;
  root.classList.add("scripted");
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const remember = (theme) => { try { localStorage.setItem("pcapdoc-theme", theme); } catch { /* files may have no storage */ } };
  try {
    const theme = localStorage.getItem("pcapdoc-theme");
    if (theme === "dark" || theme === "light") root.dataset.theme = theme;
  } catch { /* files may have no storage */ }
  // A chart whose data can be stretched: lines keep their width, ticks are computed for the stretch.
  const inSvg = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  // Round places within a stretch, at most `most` apart from the first, and their names: as many digits as
  // distinguish neighbours, in the unit that suits the larger end.
  const ticksWithin = (from, to, most, unit) => {
    const scales = {
      elapsed: [[1e-6, "µs"], [1e-3, "ms"], [1, "s"]],
      ms: [[1e-3, "µs"], [1, "ms"], [1e3, "s"]],
      bytes: [[1, "B"], [1e3, "kB"], [1e6, "MB"], [1e9, "GB"]],
    }[unit] || [[1, ""]];
    const [factor, name] = scales.findLast(([size]) => to >= size) || scales[0];
    const rough = (to - from) / factor / most;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const ticks = [];
    for (let n = Math.ceil(from / factor / step - 1e-9); n * step <= to / factor + step * 1e-9; n += 1) {
      const text = `${unit === "elapsed" && n !== 0 ? "+" : ""}${(n * step).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })} ${name}`;
      ticks.push([n * step * factor, text.trim()]);
    }
    return ticks;
  };
  const zoomable = (svg) => {
    const [left, right, low, high] = svg.dataset.plot.split(" ").map(Number);
    const height = svg.viewBox.baseVal.height;
    // A picture in the picture cuts off what lies beside the axes.
    const width = right - left;
    const frame = inSvg("svg", { x: left, y: 0, width, height, viewBox: `${left} 0 ${width} ${height}` });
    const data = inSvg("g", { class: "data" });
    data.append(...svg.querySelectorAll(".line, .area, .stroke, .dot, .mark"));
    frame.append(data);
    const ticks = [...svg.querySelectorAll("text")].filter((text) => Number(text.getAttribute("y")) > height - 40);
    const named = inSvg("g", {});
    const choice = inSvg("rect", { class: "choice", y: 16, height: height - 72, width: 0 });
    svg.append(frame, named, choice);
    const zoom = { whole: [low, high], range: [low, high] };
    zoom.show = (from, to) => {
      zoom.range = [from, to];
      svg.dataset.plot = `${left} ${right} ${from} ${to} linear`;
      const scale = (high - low) / (to - from);
      const moved = left - (left + (from - low) / (high - low) * (right - left)) * scale;
      data.setAttribute("transform", `matrix(${scale} 0 0 1 ${moved} 0)`);
      const isWhole = scale < 1.001;
      for (const tick of ticks) tick.style.display = isWhole ? "" : "none";
      named.replaceChildren();
      if (isWhole) return;
      const most = Math.max(2, Math.floor(width / 260));
      for (const [at, name] of ticksWithin(from, to, most, svg.dataset.unit)) {
        const x = left + (at - from) / (to - from) * width;
        const text = inSvg("text", { x: Math.min(right - 20, Math.max(left + 40, x)), y: height - 27, "text-anchor": "middle" });
        text.textContent = name;
        named.append(inSvg("path", { class: "axis", d: `M${x} ${height - 56}v8` }), text);
      }
    };
    const place = (event) => {
      const box = svg.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      return Math.min(right, Math.max(left, x));
    };
    let began = null;
    const stretch = (event) => [began, place(event)].sort((a, b) => a - b);
    svg.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "mouse" || event.button !== 0) return;
      began = place(event);
      event.preventDefault();
    });
    svg.addEventListener("pointermove", (event) => {
      if (began === null) return;
      const [start, end] = stretch(event);
      choice.setAttribute("x", start);
      choice.setAttribute("width", end - start);
    });
    addEventListener("pointerup", (event) => {
      if (began === null) return;
      const [start, end] = stretch(event);
      const [from, to] = zoom.range;
      const at = (x) => from + (x - left) / (right - left) * (to - from);
      began = null;
      choice.setAttribute("width", 0);
      if (end - start > 12) zoom.chosen(at(start), at(end));
    });
    svg.addEventListener("dblclick", () => zoom.chosen(low, high));
    return zoom;
  };

  addEventListener("DOMContentLoaded", () => {
    const toggle = make("button", { type: "button", class: "theme" });
    const label = () => { toggle.textContent = dark() ? "Light theme" : "Dark theme"; };
    toggle.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      remember(root.dataset.theme);
      label();
    });
    label();
    document.querySelector(".top").append(toggle);

    // Copy buttons.
    const said = make("p", { class: "quiet", role: "status" });
    document.body.append(said);
    const copy = async (pre) => {
      try {
        await navigator.clipboard.writeText(pre.textContent);
        return true;
      } catch {
        const range = document.createRange();
        range.selectNodeContents(pre);
        const selection = getSelection();
        selection.removeAllRanges();
        selection.addRange(range);
        return document.execCommand("copy");
      }
    };
    for (const block of document.querySelectorAll(".copy")) {
      const button = make("button", { type: "button" }, "Copy");
      button.addEventListener("click", async () => {
        const done = await copy(block.querySelector("pre"));
        button.textContent = done ? "Copied" : "Press Ctrl+C";
        said.textContent = done ? "Copied to the clipboard" : "Selected; press Ctrl+C to copy";
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
      });
      block.append(button);
    }

    // Tables: sort by a heading, filter by words.
    const value = (row, column) => {
      const cell = row.cells[column];
      return cell.dataset.sort === undefined ? cell.textContent : Number(cell.dataset.sort);
    };
    const compare = (a, b) => {
      if (typeof a === "number" && typeof b === "number") return a - b;
      if (typeof a !== typeof b) return typeof a === "number" ? 1 : -1;
      return a.localeCompare(b, "en", { numeric: true });
    };
    const sort = (table, column) => {
      const head = table.tHead.rows[0].cells[column];
      const numeric = head.classList.contains("n");
      const order = head.ariaSort ? (head.ariaSort === "descending" ? 1 : -1) : (numeric ? -1 : 1);
      for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order > 0 ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => order * compare(value(a, column), value(b, column)));
      table.tBodies[0].append(...rows);
    };
    for (const table of document.querySelectorAll("table.sortable")) {
      [...table.tHead.rows[0].cells].forEach((head, column) => {
        const button = make("button", { type: "button" }, head.textContent);
        button.addEventListener("click", () => sort(table, column));
        head.replaceChildren(button);
      });
      if (table.tBodies[0].rows.length < 8) continue;
      const region = table.closest(".scroll");
      const name = `Filter: ${document.getElementById(region.getAttribute("aria-labelledby")).textContent}`;
      const input = make("input", { type: "search", placeholder: "Filter rows", "aria-label": name, class: "filter" });
      const count = make("span", { class: "axes", role: "status" });
      const line = make("p", { class: "filters" });
      line.append(input, " ", count);
      input.addEventListener("input", () => {
        const words = input.value.toLowerCase().split(/\s+/);
        let shown = 0;
        for (const row of table.tBodies[0].rows) {
          const text = row.textContent.toLowerCase();
          row.hidden = !words.every((word) => text.includes(word));
          if (!row.hidden) shown += 1;
        }
        count.textContent = input.value.trim() ? `${shown} of ${table.tBodies[0].rows.length} rows` : "";
      });
      region.before(line);
    }

    // Tables: choose the columns.
    for (const table of document.querySelectorAll("table.sortable")) {
      const heads = [...table.tHead.rows[0].cells];
      if (heads.length < 6) continue;
      const region = table.closest(".scroll");
      const choice = make("details", { class: "more columns" });
      choice.append(make("summary", {}, "Columns"));
      const set = make("fieldset", {});
      const title = document.getElementById(region.getAttribute("aria-labelledby")).textContent;
      set.append(make("legend", { class: "quiet" }, `Columns of: ${title}`));
      heads.forEach((head, column) => {
        const box = make("input", { type: "checkbox" });
        box.checked = true;
        box.addEventListener("change", () => {
          for (const row of table.rows) row.cells[column].hidden = !box.checked;
        });
        const line = make("label", {});
        line.append(box, head.textContent);
        set.append(line);
      });
      choice.append(set);
      region.before(choice);
    }

    // Charts: what the pointer is over, from the data table behind the chart.
    for (const figure of document.querySelectorAll(".plot:not(.still)")) {
      const heads = [...figure.querySelectorAll("thead th")].map((head) => head.textContent);
      const rows = [...figure.querySelectorAll("tbody tr")];
      if (rows.length === 0) continue;
      const places = rows.map((row) => Number(row.dataset.place));
      const text = figure.querySelector(".reading");
      for (const svg of figure.querySelectorAll(".chart")) {
        const cursor = inSvg("path", { class: "cursor" });
        svg.append(cursor);
        const height = svg.viewBox.baseVal.height;
        svg.addEventListener("pointermove", (event) => {
          // Anew every time: zooming changes it.
          const [left, right, low, high] = svg.dataset.plot.split(" ").map(Number);
          const log = svg.dataset.plot.endsWith("log");
          const box = svg.getBoundingClientRect();
          const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
          const share = Math.min(1, Math.max(0, (x - left) / (right - left)));
          const at = log ? low * (high / low) ** share : low + (high - low) * share;
          const apart = (place) => Math.abs(log ? Math.log(place / at) : place - at);
          let nearest = 0;
          places.forEach((place, index) => { if (apart(place) < apart(places[nearest])) nearest = index; });
          text.textContent = [...rows[nearest].cells].map((cell, index) => `${heads[index]}: ${cell.textContent}`).join(" · ");
          const position = log ? Math.log(places[nearest] / low) / Math.log(high / low) : (places[nearest] - low) / (high - low);
          const line = Math.round(left + (right - left) * position);
          cursor.setAttribute("d", `M${line} 16V${height - 56}`);
        });
        svg.addEventListener("pointerleave", () => { text.textContent = ""; cursor.removeAttribute("d"); });
      }
    }

    // Charts over time: drag over a stretch to see it alone, or use the buttons.
    for (const figure of document.querySelectorAll(".plot:not(.still)")) {
      const rows = [...figure.querySelectorAll("tbody tr")];
      const charts = [...figure.querySelectorAll(".chart")];
      if (rows.length < 12 || charts.some((svg) => svg.dataset.plot.endsWith("log") || svg.dataset.unit === "tail")) continue;
      const zooms = charts.map(zoomable);
      const [low, high] = zooms[0].whole;
      let [from, to] = [low, high];
      const buttons = [];
      const show = (start, end) => {
        const length = Math.min(high - low, Math.max((high - low) / 200, end - start));
        from = Math.min(high - length, Math.max(low, start));
        to = from + length;
        for (const zoom of zooms) zoom.show(from, to);
        buttons.forEach((button, index) => { button.disabled = index > 0 && length >= high - low; });
      };
      const line = make("p", { class: "zoom" });
      const step = (name, start, end) => {
        const button = make("button", { type: "button" }, name);
        button.addEventListener("click", () => { const half = (to - from) / 2; show(from + start * half, to + end * half); });
        buttons.push(button);
        line.append(button);
      };
      step("Zoom in", 0.5, -0.5);
      step("Zoom out", -1, 1);
      step("Earlier", -1, -1);
      step("Later", 1, 1);
      for (const zoom of zooms) zoom.chosen = show;
      show(low, high);
      figure.querySelector(".more").before(line);
    }

    // Tabs: stacked sections without this; arrow keys move between them.
    for (const tabs of document.querySelectorAll(".tabs")) {
      const list = tabs.querySelector(".tablist");
      if (!list) continue;
      list.setAttribute("role", "tablist");
      list.setAttribute("aria-label", tabs.dataset.label);
      const buttons = [...list.querySelectorAll("button")];
      const panels = [...tabs.querySelectorAll(".panel")];
      const choose = (chosen) => buttons.forEach((button, index) => {
        button.setAttribute("aria-selected", String(index === chosen));
        button.tabIndex = index === chosen ? 0 : -1;
        panels[index].classList.toggle("shown", index === chosen);
        panels[index].classList.toggle("away", index !== chosen);
      });
      buttons.forEach((button, index) => {
        button.setAttribute("role", "tab");
        button.setAttribute("aria-controls", panels[index].id);
        panels[index].setAttribute("role", "tabpanel");
        panels[index].setAttribute("aria-labelledby", button.id);
        button.addEventListener("click", () => choose(index));
      });
      list.addEventListener("keydown", (event) => {
        const now = buttons.indexOf(document.activeElement);
        const next = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: buttons.length - 1 }[event.key];
        if (next === undefined || now < 0) return;
        event.preventDefault();
        const index = (next + buttons.length) % buttons.length;
        choose(index);
        buttons[index].focus();
      });
      choose(0);
    }

    // Paper has nothing to click on: fold-outs but the charts' data are printed.
    addEventListener("beforeprint", () => {
      const folded = document.querySelectorAll(".more:not([open], .plot .more)");
      for (const details of folded) details.open = true;
      addEventListener("afterprint", () => { for (const details of folded) details.open = false; }, { once: true });
    });
  });
})();
