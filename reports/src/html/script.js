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
    for (const figure of document.querySelectorAll(".plot")) {
      const heads = [...figure.querySelectorAll("thead th")].map((head) => head.textContent);
      const rows = [...figure.querySelectorAll("tbody tr")];
      if (rows.length === 0) continue;
      const places = rows.map((row) => Number(row.dataset.place));
      const text = figure.querySelector(".reading");
      for (const svg of figure.querySelectorAll(".chart")) {
        const [left, right, from, to, scale] = svg.dataset.plot.split(" ").map((part) => Number(part) || part);
        const [low, high] = [Number(from) || 0, Number(to)];
        const log = scale === "log";
        const cursor = document.createElementNS("http://www.w3.org/2000/svg", "path");
        cursor.setAttribute("class", "cursor");
        svg.append(cursor);
        const height = svg.viewBox.baseVal.height;
        svg.addEventListener("pointermove", (event) => {
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
