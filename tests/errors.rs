//! What goes wrong around the program: no permission, files that go away, full disks, readers that
//! leave.

use crate::common;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("pcapdoc-errors-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}

fn race() -> PathBuf {
    common::root().join("testdata/captures/keepalive-race/late-write.pcap")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    /// The user `nobody`, for whom modes hold when the tests run as root.
    const NOBODY: u32 = 65_534;
    let folder = folder("permission");
    let secret = folder.join("secret.pcap");
    std::fs::copy(race(), &secret).expect("a copy");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o000)).expect("a mode");
    let mut command = common::pcapdoc(&["analyze", text(&secret)]);
    if std::fs::File::open(&secret).is_ok() {
        // Root's folders are closed to others: the program is run from here.
        let program = folder.join("pcapdoc");
        std::fs::copy(env!("CARGO_BIN_EXE_pcapdoc"), &program).expect("a copy");
        command = Command::new(program);
        command.args(["analyze", text(&secret)]).uid(NOBODY);
        command.current_dir(std::env::temp_dir());
    }
    match command.stdin(Stdio::null()).output() {
        Ok(output) => {
            assert_eq!(output.status.code(), Some(3), "{output:?}");
            let message = String::from_utf8(output.stderr).expect("UTF-8");
            assert_eq!(message.lines().count(), 1, "{message}");
            assert!(message.contains("secret.pcap"), "{message}");
            assert!(message.contains("ermission"), "{message}");
        }
        Err(error) => {
            common::notice(&format!("cannot become a user whom modes bind: {error}"));
        }
    }
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

/// A limit on file sizes acts as a disk that is full after so many bytes.
#[test]
fn a_disk_that_fills_up_leaves_no_half_report() {
    let folder = folder("full");
    let program = env!("CARGO_BIN_EXE_pcapdoc");
    let script = format!(
        "trap '' XFSZ; ulimit -f 16; exec {program} analyze '{}' -o '{}'",
        text(&race()),
        text(&folder)
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(message.lines().count(), 1, "{message}");
    let left: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    for format in ["json", "html", "md", "terminal"] {
        let mut child = common::pcapdoc(&["analyze", text(&race()), "--format", format, "-o", "-"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("a child");
        assert!(output.status.success(), "{format}: {output:?}");
        assert!(output.stderr.is_empty(), "{format}: {output:?}");
    }
}

/// A set of which a file goes away after it was looked at: the first one, a pipe, is still being
/// read then.
#[cfg(unix)]
#[test]
fn a_file_that_goes_away_while_others_are_read_is_named() {
    let folder = folder("vanish");
    let pipe = folder.join("a.pcap");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let names: Vec<PathBuf> = ["b", "c", "d", "e"]
        .iter()
        .map(|name| folder.join(name).with_extension("pcap"))
        .collect();
    for name in &names {
        std::fs::copy(race(), name).expect("a copy");
    }
    let mut arguments = vec!["analyze", text(&pipe)];
    arguments.extend(names.iter().map(|name| text(name)));
    arguments.extend(["--format", "json", "-o", "-"]);
    let child = common::pcapdoc(&arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let bytes = std::fs::read(race()).expect("the capture");
    let mut writer = std::fs::File::options()
        .write(true)
        .open(&pipe)
        .expect("the program reads");
    // Before the files' first frames, so that the pipe comes first; more than a pipe holds, and than
    // is read to see what it is: when it is written, the program has looked at all files.
    let record = [1_u32, 0, 60_000, 60_000].map(u32::to_le_bytes).concat();
    let frames = [record, vec![0; 60_000]].concat().repeat(100);
    for part in [&bytes[..24], &frames] {
        writer.write_all(part).expect("the pipe takes it");
    }
    std::fs::remove_file(&names[3]).expect("a file");
    writer.write_all(&bytes[24..]).expect("the pipe takes it");
    drop(writer);
    let output = child.wait_with_output().expect("a child");
    assert!(output.status.success(), "{output:?}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("valid JSON");
    let notes = document["capture"]["quality"].to_string();
    assert!(notes.contains("e.pcap"), "{notes}");
    let files = document["capture"]["files"].as_array().expect("files");
    assert_eq!(files.len(), 4, "{files:?}");
    std::fs::remove_dir_all(&folder).expect("the folder can go");
}
