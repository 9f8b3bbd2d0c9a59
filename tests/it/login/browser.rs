//! What the browser of a login is started with, and when none is.

use super::*;

#[tokio::test]
async fn a_login_that_could_not_be_kept_is_not_begun() {
    let world = World::of(&ANTHROPIC).await;
    world.home.run(&["add", "secret", "other", "--from-literal", "token=c4nary-other"], "").assert_ok();
    let flags = world.home.vault_flags();
    let key = flags[flags.iter().position(|flag| *flag == "--master-key-file").unwrap() + 1];
    fs::write(key, [7; 32]).unwrap();
    let ran = world.connect(&["anthropic", "--oauth"]).await;
    ran.assert_fails(1, "not the master key of this vault");
    assert!(!world.home.path("page").exists(), "a browser ran");
    world.vendor.origin.assert_untouched();
}

#[tokio::test]
async fn no_browser_inherits_the_descriptor_of_the_master_key() {
    let world = World::of(&ANTHROPIC).await;
    world.home.write("fd.key", &"5a".repeat(32));
    world.browser("ls -l /proc/self/fd > descriptors; exec $curl -L -o page \"$1\"");
    let plain = world.command(&["anthropic", "--oauth"]);
    let mut words: Vec<_> = plain.get_args().map(ToOwned::to_owned).collect();
    let at = words.iter().position(|word| word == "--master-key-file").unwrap();
    words.drain(at..at + 2);
    let mut command = Command::new("/bin/sh");
    let script = format!("exec \"$0\" \"$@\" --master-key-fd 7 7<{}", world.home.path("fd.key").display());
    command.arg("-c").arg(script).arg(plain.get_program()).args(words).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let log = world.home.path("stderr");
    command.stderr(File::create(&log).unwrap()).stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    let url = eventually("the address", SOON, || {
        let text = fs::read_to_string(&log).unwrap();
        text.split_whitespace().find(|word| word.starts_with("https://")).map(str::to_owned)
    })
    .await;
    assert!(!world.home.path("descriptors").exists(), "a browser ran");
    world.page(&url, "-L -o page").await;
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    let told = fs::read_to_string(&log).unwrap();
    assert!(output.status.success() && told.contains("would inherit the descriptor"), "{told}");
}

#[tokio::test]
async fn the_browser_inherits_no_limit_and_shows_nobody_the_login() {
    let world = World::of(&ANTHROPIC).await;
    world.vendor.set(|state| state.lacks = Some("id_token"));
    world.browser(
        "grep NoNewPrivs /proc/self/status > privileges; ulimit -Hc > cores; echo \"$1\" > started\n\
         cut -d' ' -f5 /proc/$$/stat > group; echo $$ > process; exec $curl -L -o page \"$1\"",
    );
    let ran = world.connect(&["anthropic", "--oauth"]).await;
    ran.assert_ok();
    assert!(ran.stderr.contains("logged in as claude@example.com"), "{ran:?}");
    let text = |name: &str| fs::read_to_string(world.home.path(name)).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    assert!(status.contains(&text("privileges")), "{}", text("privileges"));
    let own = Command::new("/bin/sh").args(["-c", "ulimit -Hc"]).output().unwrap().stdout;
    assert_eq!(text("cores").as_bytes(), own);
    assert_eq!(text("group"), text("process"));
    // Everybody sees what programs are started with.
    let started = text("started");
    assert!(started.starts_with("http://localhost:") && !started.contains("state"), "{started}");
}
