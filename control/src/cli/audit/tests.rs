use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use super::files::Followed;
use super::show::row;
use super::*;
use crate::audit::search::{Facts, Filter};
use crate::audit::{Chain, Entry, Kind, Signer, linked_line};
use crate::cli::{Format, Globals, Output};

const LINE: &str = r#"{"ts":"2027-01-15T08:00:00.123000Z","kind":"request","req":"0a-1","agent":"coder","provider":"github","method":"GET","host":"api.github.com","port":443,"path":"/user","verdict":"deny","code":"DW1002","status":403,"elapsed_us":1500}"#;

fn env(output: Format) -> Env {
    let globals = Globals { output, ..Globals::default() };
    Env {
        vars: std::collections::BTreeMap::new(),
        globals,
        schemes: &[],
        output: Output,
        tls: crate::cli::no_tls,
        browse: crate::cli::no_browser,
    }
}

fn read(file: &mut Followed, filter: &Filter) -> Vec<String> {
    let mut paths = Vec::new();
    file.read(filter, |line, _| paths.push(line.path.unwrap())).unwrap();
    paths
}

/// Lines of a chain, one a day from 2030 on, and where it stands behind each.
fn chain(lines: u64) -> (Vec<String>, Vec<Chain>) {
    let mut after = Chain::default();
    let made = (0..lines).map(|day| {
        let at = UNIX_EPOCH + Duration::from_secs(1_893_456_000 + day * 86_400);
        let (line, chain) = linked_line(&Entry::new(Kind::Lifecycle, at), after);
        after = chain;
        (line + "\n", chain)
    });
    made.unzip()
}

/// A folder with checkpoints of these chains, its key, and files.
struct Kept {
    folder: tempfile::TempDir,
}

impl Kept {
    fn new(signed: &[(&str, Chain)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::of_seed(&[5; 32]).unwrap();
        let lines: String =
            signed.iter().map(|(source, chain)| format!("{}\n", signer.sign(source, *chain, 7))).collect();
        let kept = Self { folder };
        kept.file("checkpoints", &lines);
        kept.file("key.pem", &signer.public().pem());
        kept
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn verify(&self, files: &[PathBuf]) -> Result<Exit, Failure> {
        let verify = Verify {
            files: files.to_vec(),
            checkpoints: Some(self.path("checkpoints")),
            key: Some(self.path("key.pem")),
            ..Verify::default()
        };
        Audit { verb: Verb::Verify(verify) }.run(&env(Format::Table), self.folder.path())
    }

    fn prune(&self, before: &str, files: &[PathBuf]) -> Result<Exit, Failure> {
        let prune = Prune {
            before: before.to_owned(),
            source: None,
            checkpoints: Some(self.path("checkpoints")),
            key: Some(self.path("key.pem")),
            files: files.to_vec(),
        };
        Audit { verb: Verb::Prune(prune) }.run(&env(Format::Table), self.folder.path())
    }
}

#[test]
fn refuses_formats_that_do_not_fit_codes_that_do_not_exist_and_times_that_are_none() {
    assert_eq!(Printer::new(&env(Format::Json), Stream::Endless).err().map(|f| f.exit), Some(Exit::Usage));
    assert_eq!(Printer::new(&env(Format::Dotenv), Stream::Ends).err().map(|f| f.exit), Some(Exit::Usage));
    let filter = FilterArgs { code: Some("DW9".into()), ..FilterArgs::default() };
    assert_eq!(filter.checked().err().map(|f| f.exit), Some(Exit::Usage));
    let filter = FilterArgs { since: Some("yesterday".into()), ..FilterArgs::default() };
    assert_eq!(filter.checked().err().map(|f| f.exit), Some(Exit::Usage));
}

#[test]
fn a_span_lies_in_the_past() {
    let filter = FilterArgs { since: Some("90d".into()), until: Some("1h".into()), ..FilterArgs::default() };
    let filter = filter.checked().unwrap();
    let now = crate::audit::search::moment(time::OffsetDateTime::now_utc());
    assert!(filter.since < filter.until && filter.until < Some(now));
}

#[test]
fn says_not_found_where_there_is_no_audit() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path(), &folder.path().join("none")] {
        assert_eq!(files_of(&[], path).err().map(|f| f.exit), Some(Exit::NotFound));
    }
}

#[test]
fn exits_1_when_a_chain_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    fs::write(&path, format!("{LINE}\n")).unwrap();
    let command = Audit { verb: Verb::Verify(Verify::default()) };
    assert_eq!(command.run(&env(Format::Json), folder.path()).unwrap(), Exit::Error);
    fs::write(&path, "").unwrap();
    assert_eq!(command.run(&env(Format::Table), folder.path()).unwrap(), Exit::Ok);
}

#[test]
fn exits_1_when_the_end_of_a_chain_was_cut_off_or_it_was_written_anew() {
    let (lines, chains) = chain(6);
    let kept = Kept::new(&[("here", chains[1]), ("here", chains[4])]);
    let whole = kept.file("audit.jsonl", &lines.concat());
    assert_eq!(kept.verify(&[whole]).unwrap(), Exit::Ok);
    let cut = kept.file("cut.jsonl", &lines[..4].concat());
    assert_eq!(kept.verify(&[cut]).unwrap(), Exit::Error, "five lines were signed");
    // Another chain of the same length, which holds by itself.
    let mut after = Chain::default();
    let anew: String = (0..6)
        .map(|_| {
            let (line, chain) = linked_line(&Entry::new(Kind::Lifecycle, UNIX_EPOCH), after);
            after = chain;
            line + "\n"
        })
        .collect();
    let anew = kept.file("anew.jsonl", &anew);
    assert_eq!(kept.verify(&[anew]).unwrap(), Exit::Error);
}

#[test]
fn a_chain_in_several_files_is_held_against_all_that_was_signed_of_it() {
    let (lines, chains) = chain(6);
    let kept = Kept::new(&[("here", chains[1]), ("here", chains[4])]);
    let (one, two) =
        (kept.file("a.jsonl.1", &lines[..3].concat()), kept.file("a.jsonl", &lines[3..].concat()));
    assert_eq!(kept.verify(&[one.clone(), two.clone()]).unwrap(), Exit::Ok);
    // Its beginning was dropped: the rest still holds.
    assert_eq!(kept.verify(&[two]).unwrap(), Exit::Ok);
    assert_eq!(kept.verify(&[one]).unwrap(), Exit::Error);
}

#[test]
fn refuses_checkpoints_that_were_edited_or_are_signed_by_another() {
    let (lines, chains) = chain(2);
    let kept = Kept::new(&[("here", chains[1])]);
    let whole = kept.file("audit.jsonl", &lines.concat());
    let good = fs::read_to_string(kept.path("checkpoints")).unwrap();
    for wrong in [good.replace("\"seq\":2", "\"seq\":1"), "{}\n".to_owned(), good.replace("here", "hare")] {
        kept.file("checkpoints", &wrong);
        assert_eq!(kept.verify(std::slice::from_ref(&whole)).unwrap_err().exit, Exit::Error, "{wrong}");
    }
    kept.file("checkpoints", &good);
    kept.file("key.pem", &Signer::of_seed(&[6; 32]).unwrap().public().pem());
    assert_eq!(kept.verify(&[whole]).unwrap_err().exit, Exit::Error);
}

#[test]
fn only_whole_old_files_that_are_signed_and_continued_are_dropped() {
    let (lines, chains) = chain(6);
    let kept = Kept::new(&[("here", chains[3])]);
    let files = || {
        [
            kept.file("a.jsonl.2", &lines[..2].concat()),
            kept.file("a.jsonl.1", &lines[2..4].concat()),
            kept.file("a.jsonl", &lines[4..].concat()),
        ]
    };
    // The second file has a line that is not that old.
    let all = files();
    assert_eq!(kept.prune("2030-01-04", &all).unwrap(), Exit::Ok);
    assert_eq!(all.clone().map(|path| path.exists()), [false, true, true]);
    // The last one is not continued.
    let all = files();
    assert_eq!(kept.prune("2031-01-01", &all).unwrap(), Exit::Error);
    assert_eq!(all.clone().map(|path| path.exists()), [false, false, true]);
    assert_eq!(kept.verify(&all[2..]).unwrap(), Exit::Ok);
    // One that is written stays, and so does what comes after it.
    let all = files();
    let held = File::open(&all[0]).unwrap();
    held.try_lock().unwrap();
    assert_eq!(kept.prune("2031-01-01", &all).unwrap(), Exit::Error);
    assert!(all.iter().all(|path| path.exists()));
    drop(held);
    // Nothing signed is beyond the first file.
    let short = Kept::new(&[("here", chains[0])]);
    let all = files();
    fs::copy(short.path("checkpoints"), kept.path("checkpoints")).unwrap();
    assert_eq!(kept.prune("2031-01-01", &all).unwrap(), Exit::Error);
    assert!(all.iter().all(|path| path.exists()));
    // One that does not verify.
    fs::write(&all[0], lines[0].replace("lifecycle", "lifecycl3")).unwrap();
    assert_eq!(kept.prune("2031-01-01", &all).unwrap(), Exit::Error);
    assert!(all.iter().all(|path| path.exists()));
}

#[test]
fn a_row_moves_no_cursor() {
    let facts =
        Facts { path: Some("/\u{1b}[2J\n\u{202e}".into()), reason: Some("\r".into()), ..Facts::default() };
    let row = row(&facts, true);
    assert!(!row.chars().any(|c| c.is_control() || crate::audit::is_format(c)), "{row:?}");
}

#[test]
fn a_row_shows_what_when_who_and_why() {
    let facts = Facts::of(LINE).unwrap();
    let row = row(&facts, true);
    for part in [
        "2027-01-15T08:00:00.123",
        "deny",
        "coder",
        "GET",
        "403",
        "1ms",
        "api.github.com/user",
        "DW1002",
        "req=0a-1",
    ] {
        assert!(row.contains(part), "{row}");
    }
}

#[test]
fn a_code_is_found_however_it_is_written() {
    let facts = Facts::of(LINE).unwrap();
    let with = |code: &str, agent: &str| {
        let filter =
            FilterArgs { code: Some(code.into()), agent: Some(agent.into()), ..FilterArgs::default() };
        filter.checked().unwrap().takes(&facts)
    };
    assert!(with("1002", "coder") && !with("1001", "coder") && !with("1002", "other"));
}

#[test]
fn follows_a_file_that_grows_and_is_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut file = File::create(&path).unwrap();
    let mut followed = Followed::new(path.clone());
    write!(file, "{LINE}\ntorn\n{LINE}").unwrap();
    assert_eq!(read(&mut followed, &Filter::default()).len(), 1);
    writeln!(file).unwrap();
    assert_eq!(read(&mut followed, &Filter::default()).len(), 1);
    fs::rename(&path, folder.path().join("old")).unwrap();
    assert!(read(&mut followed, &Filter::default()).is_empty());
    fs::write(&path, format!("{}\n", LINE.replace("/user", "/new"))).unwrap();
    assert_eq!(read(&mut followed, &Filter::default()), ["/new"]);
}

#[test]
fn a_line_without_end_does_not_hide_what_stands_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    fs::write(&path, format!("{}\n{LINE}\n", "x".repeat(3 * crate::audit::MAX_LINE + 7))).unwrap();
    assert_eq!(read(&mut Followed::new(path), &Filter::default()), ["/user"]);
}
