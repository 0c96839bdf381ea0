//! The examples of docs/examples do what they say. Checks that need a program which is not
//! there say so and are skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common;
use tempfile::TempDir;

fn example(name: &str) -> String {
    let path = common::root().join("docs/examples").join(name);
    fs::read_to_string(&path).expect("an example")
}

/// A folder with captures, and room for what the examples write.
fn place() -> TempDir {
    let place = tempfile::tempdir().expect("a folder");
    let captures = place.path().join("captures");
    fs::create_dir(&captures).expect("a folder");
    let capture = common::root().join("testdata/captures/keepalive-race/late-write.pcap");
    fs::copy(capture, captures.join("web.pcap")).expect("a copy");
    place
}

/// Runs a shell command below `place`, with the program as `pcapdoc`.
fn shell(command: &str, place: &Path) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_pcapdoc"));
    let folder = program.parent().expect("a folder").display();
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("sh")
        .args(["-c", command])
        .current_dir(place)
        .env("PATH", format!("{folder}:{path}"))
        .env_remove("GITHUB_STEP_SUMMARY")
        .output()
        .expect("a shell")
}

/// Absolute paths of the examples, moved below `place`.
fn moved(text: &str, place: &Path) -> String {
    let place = place.display();
    let mut text = text.replace("/usr/local/bin/pcapdoc", "pcapdoc");
    for path in ["/captures", "/reports", "/var/lib/pcapdoc", "/var/log"] {
        let inner = path.rsplit('/').next().unwrap_or_default();
        text = text.replace(path, &format!("{place}/{inner}"));
    }
    text
}

fn told(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

/// Whether a program is there; says so when it is not.
fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        common::notice(&format!("no {program}: this check is skipped"));
    }
    found
}

#[test]
fn the_cron_line_runs() {
    let place = place();
    fs::create_dir(place.path().join("log")).expect("a folder");
    let text = example("crontab");
    let line = text.lines().find(|line| !line.starts_with('#'));
    let mut fields = line.expect("a line").splitn(6, ' ');
    for (field, allowed) in fields.by_ref().take(5).zip([59, 23, 31, 12, 7]) {
        let number = field.parse::<u32>();
        assert!(field == "*" || number.is_ok_and(|number| number <= allowed));
    }
    let command = fields.next().expect("a command");
    assert!(!command.contains('%'), "cron takes it for a line break");
    let output = shell(&moved(command, place.path()), place.path());
    assert!(output.status.success(), "{}", told(&output));
    assert!(place.path().join("reports/rollup.html").is_file());
    let log = fs::read_to_string(place.path().join("log/pcapdoc.log")).expect("a log");
    assert!(log.contains("\"event\":\"end\""), "{log}");
}

#[test]
fn the_timer_is_valid_and_its_service_runs() {
    let place = place();
    let service = example("pcapdoc.service");
    let command = service
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let command = moved(command.expect("a command"), place.path());
    let output = shell(&command, place.path());
    assert!(output.status.success(), "{}", told(&output));
    assert!(place.path().join("pcapdoc/rollup.html").is_file());
    if !is_there("systemd-analyze") {
        return;
    }
    let program = env!("CARGO_BIN_EXE_pcapdoc");
    let units: Vec<PathBuf> = ["pcapdoc.service", "pcapdoc.timer"]
        .map(|name| {
            let unit = place.path().join(name);
            let text = example(name).replace("/usr/local/bin/pcapdoc", program);
            fs::write(&unit, text).expect("written");
            unit
        })
        .into();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .args(units)
        .output()
        .expect("it starts");
    let told = told(&output);
    assert!(
        output.status.success() && !told.contains("pcapdoc"),
        "{told}"
    );
}

#[test]
fn the_cron_job_runs_its_command() {
    let place = place();
    let manifest = example("cronjob.yaml");
    let arguments = manifest
        .lines()
        .find_map(|line| line.trim().strip_prefix("args: "));
    let arguments: Vec<String> =
        serde_json::from_str(arguments.expect("arguments")).expect("a list");
    let command = moved(&format!("pcapdoc {}", arguments.join(" ")), place.path());
    let output = shell(&command, place.path());
    assert!(output.status.success(), "{}", told(&output));
    for mount in ["/captures", "/reports"] {
        assert!(manifest.contains(&format!("mountPath: {mount}")));
    }
    let Some(python) = common::python("kubernetes_validate") else {
        return;
    };
    let manifest = common::root().join("docs/examples/cronjob.yaml");
    let output = Command::new(python)
        .args(["-m", "kubernetes_validate", "--strict"])
        .arg(manifest)
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn the_ci_step_fails_on_grave_findings_alone() {
    let place = place();
    let step = example("ci-step.sh");
    let before = shell("pcapdoc batch captures --out last-release", place.path());
    assert!(before.status.success(), "{}", told(&before));
    let output = shell(&step, place.path());
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("keepalive-race"), "{shown}");
    let lenient = step.replace("--fail-on high", "--fail-on critical");
    assert!(shell(&lenient, place.path()).status.success());
}
