//! The page in a real browser: silent, asking nobody, usable, printable, accessible.
//!
//! With `PCAPDOC_SCREENSHOTS=DIR` every section is kept as a picture. `PCAPDOC_AXE` names the
//! script of axe-core; without it accessibility is not checked here, which is said.

use std::path::{Path, PathBuf};

use crate::chromium::Browser;
use crate::common;
use crate::packets;
use serde_json::{Value, json};

/// The pages that are looked at: a lab capture, and one whose names attack the page.
fn pages(folder: &Path) -> [PathBuf; 2] {
    let race = common::root().join("testdata/captures/keepalive-race/late-write.pcap");
    let hostile = folder.join("hostile.pcap");
    std::fs::write(&hostile, packets::hostile()).expect("a file");
    [race, hostile].map(|capture| {
        let arguments = ["analyze", capture.to_str().expect("UTF-8"), "-o"];
        let output = common::run(&[&arguments[..], &[folder.to_str().expect("UTF-8")]].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let stem = capture
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        folder.join(format!("{stem}.report.html"))
    })
}

#[test]
fn the_page_works_in_a_browser() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let folder = std::env::temp_dir().join(format!("pcapdoc-browser-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    for page in pages(&folder) {
        browser.show_as(1200, "light");
        browser.open(&page, "");
        nothing_shifts(&mut browser);
        tables_sort_filter_and_choose_columns(&mut browser);
        filters_are_copied(&mut browser);
        charts_are_read_under_the_pointer(&mut browser);
        charts_zoom(&mut browser);
        tabs_follow_the_keyboard(&mut browser);
        cards_fit_a_laptop_screen(&mut browser, &page);
        the_theme_changes(&mut browser);
        pages_are_printed(&mut browser);
        the_page_was_silent_and_alone(&browser, &page);
        deep_links_lead_to_their_finding(&mut browser, &page);
        it_is_whole_without_scripts(&mut browser, &page);
        let is_ours = !page.ends_with("hostile.report.html");
        no_barrier_is_found(&mut browser, &page, is_ours);
        if is_ours {
            sections_are_kept_as_pictures(&mut browser, &page);
        }
    }
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

fn the_page_was_silent_and_alone(browser: &Browser, page: &Path) {
    let own = format!("file://{}", page.display());
    for event in &browser.events {
        let method = event["method"].as_str().unwrap_or_default();
        assert!(
            !matches!(
                method,
                "Log.entryAdded"
                    | "Runtime.consoleAPICalled"
                    | "Runtime.exceptionThrown"
                    | "Page.javascriptDialogOpening"
            ),
            "{event}"
        );
        if method == "Network.requestWillBeSent" {
            let url = event["params"]["request"]["url"]
                .as_str()
                .unwrap_or_default();
            let is_ours = url.starts_with(&own) || url.starts_with("data:") || url == "about:blank";
            assert!(is_ours, "the page asked for {url}");
        }
    }
}

fn tables_sort_filter_and_choose_columns(browser: &mut Browser) {
    let table = "const place = document.querySelector('#table-connections').parentElement;
         const t = place.querySelector('[aria-labelledby=table-connections] table');";
    let numbers = browser.evaluate(&format!(
        "{{ {table} const head = [...t.tHead.rows[0].cells].find((c) => c.textContent.startsWith('Bytes'));
         head.querySelector('button').click();
         const number = (row) => Number(row.cells[head.cellIndex].dataset.sort);
         [head.getAttribute('aria-sort'), [...t.tBodies[0].rows].map(number)] }}"
    ));
    assert_eq!(numbers[0], "descending");
    let values: Vec<f64> = serde_json::from_value(numbers[1].clone()).expect("numbers");
    assert!(
        values.len() > 1 && values.is_sorted_by(|a, b| a >= b),
        "{values:?}"
    );
    let hidden = browser.evaluate(
        "{ const box = document.querySelector('#table-connections ~ .columns input');
         const rows = document.querySelectorAll('[aria-labelledby=table-connections] tr');
         box.click(); const off = [...rows].every((r) => r.cells[0].hidden);
         box.click(); off && [...rows].every((r) => !r.cells[0].hidden) }",
    );
    assert_eq!(hidden, true, "a column is hidden and shown again");
    let filtered = browser.evaluate(
        "{ const input = document.querySelector('input[type=search]');
         if (!input) 'none'; else { input.value = 'no such row'; input.dispatchEvent(new Event('input'));
         const next = input.closest('p').nextElementSibling;
         const region = next.matches('.scroll') ? next : document.querySelector('.filters ~ .scroll');
         const left = [...region.querySelectorAll('tbody tr')].filter((r) => !r.hidden).length;
         input.value = ''; input.dispatchEvent(new Event('input')); left } }",
    );
    assert!(filtered == 0 || filtered == "none", "{filtered}");
}

fn charts_are_read_under_the_pointer(browser: &mut Browser) {
    let reading = browser.evaluate(
        "{ const chart = document.querySelector('.plot .chart.wide'); const box = chart.getBoundingClientRect();
           const middle = { clientX: box.left + box.width / 2, clientY: box.top + 20 };
           chart.dispatchEvent(new PointerEvent('pointermove', middle));
           const figure = chart.closest('.plot'); const shown = figure.querySelector('.reading').textContent;
           const head = figure.querySelector('thead th').textContent;
           chart.dispatchEvent(new PointerEvent('pointerleave'));
           [shown.startsWith(head + ': '), figure.querySelector('.reading').textContent] }",
    );
    assert_eq!(reading, json!([true, ""]));
}

/// The buttons show half of the time, the hover speaks of that half, and all comes back.
fn charts_zoom(browser: &mut Browser) {
    let zoomed = browser.evaluate(
        "{ const line = document.querySelector('.zoom');
           if (!line) 'none'; else {
             const chart = line.closest('.plot').querySelector('.chart.wide');
             const [zoomIn, zoomOut] = line.querySelectorAll('button');
             const length = () => { const p = chart.dataset.plot.split(' ').map(Number); return p[3] - p[2]; };
             const whole = length(); zoomIn.click();
             const rounded = () => Math.round(length() / whole * 1000) / 1000; const half = rounded();
             const isHidden = (text) => text.style.display === 'none';
             const texts = [...chart.querySelectorAll('text')];
             const ticks = texts.filter(isHidden).length;
             const low = chart.viewBox.baseVal.height - 40;
             const own = texts.filter((t) => !isHidden(t) && Number(t.getAttribute('y')) > low);
             const names = new Set(own.map((t) => t.textContent));
             const areApart = names.size === own.length && own.length > 1;
             zoomOut.click(); [half, ticks > 0, areApart, rounded(), zoomOut.disabled] } }",
    );
    if zoomed != "none" {
        assert_eq!(zoomed, json!([0.5, true, true, 1, true]));
    }
}

/// One panel at a time, chosen by arrow keys; on paper all of them.
fn tabs_follow_the_keyboard(browser: &mut Browser) {
    let shown = browser.evaluate(
        "{ const tabs = [...document.querySelectorAll('.tabs')].find((t) => t.querySelector('.tablist'));
           if (!tabs) 'none'; else {
             const buttons = [...tabs.querySelectorAll('[role=tab]')];
             const panels = [...tabs.querySelectorAll('[role=tabpanel]')];
             const place = (panel, i) => getComputedStyle(panel).display === 'none' ? -1 : i;
             const open = () => panels.map(place).filter((i) => i >= 0);
             const press = (key) => document.activeElement.dispatchEvent(
               new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
             const seen = [open()]; buttons[0].focus();
             press('ArrowRight'); seen.push(open(), buttons.indexOf(document.activeElement));
             press('ArrowLeft'); press('ArrowLeft'); seen.push(open().map((i) => i - panels.length));
             press('Home'); seen.push(open(), buttons.filter((b) => b.tabIndex === 0).length); seen } }",
    );
    if shown != "none" {
        assert_eq!(shown, json!([[0], [1], 1, [-1], [0], 1]));
    }
    browser.call("Emulation.setEmulatedMedia", json!({"media": "print"}));
    let hidden = browser.evaluate(
        "[...document.querySelectorAll('.panel')].filter((p) => getComputedStyle(p).display === 'none').length",
    );
    browser.call("Emulation.setEmulatedMedia", json!({"media": ""}));
    assert_eq!(hidden, 0, "panels that paper does not show");
}

/// What a finding says stands above its evidence on a screen of 1366 × 768 pixels, of which a browser leaves
/// about 650 to the page.
fn cards_fit_a_laptop_screen(browser: &mut Browser, page: &Path) {
    browser.show_as(1366, "light");
    browser.open(page, "");
    let heights = browser.evaluate(
        "[...document.querySelectorAll('article.finding')].map((card) => {
           const proof = card.querySelector('h4');
           const end = proof ? proof.getBoundingClientRect().top : card.getBoundingClientRect().bottom;
           return Math.round(end - card.getBoundingClientRect().top); })",
    );
    let heights = heights.as_array().expect("cards");
    assert!(
        heights
            .iter()
            .all(|height| height.as_u64().is_some_and(|height| height <= 650)),
        "{heights:?}"
    );
    browser.show_as(1200, "light");
    browser.open(page, "");
}

fn filters_are_copied(browser: &mut Browser) {
    browser.call(
        "Browser.grantPermissions",
        json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}),
    );
    let copied = browser.evaluate(
        "(async () => { const block = document.querySelector('.copy');
           block.querySelector('button').click();
           const status = document.querySelector('[role=status].quiet');
           for (let i = 0; i < 200 && !status.textContent; i++) await new Promise((done) => setTimeout(done, 20));
           return [await navigator.clipboard.readText(), block.querySelector('pre').textContent, status.textContent]; })()",
    );
    assert_eq!(copied[0], copied[1]);
    assert_eq!(copied[2], "Copied to the clipboard");
}

fn the_theme_changes(browser: &mut Browser) {
    let colours = browser.evaluate(
        "{ const colour = () => getComputedStyle(document.body).backgroundColor; const before = colour();
         document.querySelector('.theme').click(); const after = colour();
         document.querySelector('.theme').click(); const again = colour();
         localStorage.clear(); [before, after, again] }",
    );
    assert_ne!(colours[0], colours[1]);
    assert_eq!(colours[0], colours[2]);
}

fn nothing_shifts(browser: &mut Browser) {
    let shift = browser.evaluate(
        "new Promise((done) => { let sum = 0;
           new PerformanceObserver((list) => { for (const e of list.getEntries()) if (!e.hadRecentInput) sum += e.value; }).observe({ type: 'layout-shift', buffered: true });
           setTimeout(() => done(sum), 300); })",
    );
    assert!(
        shift.as_f64().is_some_and(|shift| shift < 0.01),
        "layout shift {shift}"
    );
}

fn pages_are_printed(browser: &mut Browser) {
    let printed = browser.call(
        "Page.printToPDF",
        json!({"paperWidth": 8.27, "paperHeight": 11.69}),
    );
    let data = printed["data"].as_str().expect("a document");
    assert!(data.starts_with("JVBERi"), "a PDF, in Base64");
    assert!(data.len() > 20_000);
}

fn deep_links_lead_to_their_finding(browser: &mut Browser, page: &Path) {
    browser.open(page, "#F1");
    // Scrolling takes a moment where motion is welcome.
    let arrived = browser.until(|browser| {
        let target = browser.evaluate(
            "[document.querySelector(':target')?.id, document.querySelector('#F1').getBoundingClientRect().top]",
        );
        target[0] == "F1" && target[1].as_f64().is_some_and(|top| top.abs() < 100.0)
    });
    assert!(arrived, "{}#F1 is not in sight", page.display());
}

fn it_is_whole_without_scripts(browser: &mut Browser, page: &Path) {
    browser.call(
        "Emulation.setScriptExecutionDisabled",
        json!({"value": true}),
    );
    browser.call("Page.navigate", json!({"url": "about:blank"}));
    browser.call(
        "Page.navigate",
        json!({"url": format!("file://{}", page.display())}),
    );
    // While the page is still replaced, the node of a document just asked for may be gone: not found.
    let find = |browser: &mut Browser, selector: &str| {
        let root = browser.call("DOM.getDocument", json!({"depth": 1}));
        let node = &root["root"]["nodeId"];
        let query = json!({"nodeId": node, "selector": selector});
        browser
            .try_call("DOM.querySelector", query)
            .is_ok_and(|found| found["nodeId"] != 0)
    };
    // The page's last element: with it everything is there.
    assert!(browser.until(|browser| find(browser, "footer")), "no page");
    for (selector, expected) in [
        ("#F1 h3", true),
        (".ladder", true),
        (".tabs .panel h5", true),
        ("button:not(.tablist button)", false),
    ] {
        let found = find(browser, selector);
        assert_eq!(found, expected, "{selector} without scripts");
    }
    browser.call(
        "Emulation.setScriptExecutionDisabled",
        json!({"value": false}),
    );
}

fn no_barrier_is_found(browser: &mut Browser, page: &Path, in_all_looks: bool) {
    let Some(axe) = std::env::var_os("PCAPDOC_AXE") else {
        common::skipped("PCAPDOC_AXE names no axe-core");
        return;
    };
    let axe = std::fs::read_to_string(axe).expect("the script of axe-core");
    let looks = [(1200, "light"), (1200, "dark"), (400, "light")];
    for (width, scheme) in looks.into_iter().take(if in_all_looks { 3 } else { 1 }) {
        browser.show_as(width, scheme);
        browser.open(page, "");
        browser.evaluate("for (const d of document.querySelectorAll('details')) d.open = true; 1");
        browser.evaluate(&format!("{axe}; 1"));
        let violations = browser.evaluate(
            "axe.run().then((r) => r.violations.map((v) => [v.id, v.nodes.length,
               v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200) + ' ' + n.failureSummary)]))",
        );
        assert_eq!(
            violations,
            json!([]),
            "{} at {width} px, {scheme}: {violations:#}",
            page.display()
        );
        let overflow = browser.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth",
        );
        assert_eq!(overflow, 0, "the page is wider than {width} px");
    }
}

fn sections_are_kept_as_pictures(browser: &mut Browser, page: &Path) {
    let Some(folder) = std::env::var_os("PCAPDOC_SCREENSHOTS").map(PathBuf::from) else {
        return;
    };
    std::fs::create_dir_all(&folder).expect("a folder for pictures");
    let stem = page
        .file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    for (width, scheme) in [(1200, "light"), (1200, "dark"), (400, "light")] {
        browser.show_as(width, scheme);
        browser.open(page, "");
        let sections = browser.evaluate(
            "[...document.querySelectorAll('main > section, article.finding')].map((s) => {
               const b = s.getBoundingClientRect();
               return { id: s.id || s.className, x: b.x + scrollX, y: b.y + scrollY,
                 width: b.width, height: b.height }; })",
        );
        for section in sections.as_array().expect("sections") {
            let mut clip = section.clone();
            clip["scale"] = json!(1);
            clip.as_object_mut().expect("a box").remove("id");
            let shot = browser.call(
                "Page.captureScreenshot",
                json!({"clip": clip, "captureBeyondViewport": true}),
            );
            let name = format!(
                "{stem}-{}-{width}-{scheme}.png",
                section["id"].as_str().unwrap_or("part")
            );
            std::fs::write(folder.join(name), decoded(&shot["data"])).expect("a picture");
        }
    }
}

/// Base64 (RFC 4648 §4).
fn decoded(text: &Value) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let text = text
        .as_str()
        .expect("text")
        .trim_end_matches('=')
        .as_bytes();
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let bits = group
            .iter()
            .enumerate()
            .map(|(at, &byte)| value(byte) << (18 - 6 * at))
            .sum::<u32>();
        bytes.extend(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
