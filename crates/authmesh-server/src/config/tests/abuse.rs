//! Hostile and broken input: bounded, without a panic, and without showing what it was given.

use super::super::default_file;
use super::*;

#[test]
fn every_cut_of_a_file_is_answered() {
    let text = format!(
        "{MINIMAL}[server]\nlisten = \"127.0.0.1:1\"\nheaders = {{ subject = \"X-S\" }}\n[[routes]]\npath = \"/\"\n"
    );
    let whole = Setup::new(&text);
    assert!(whole.load(&[]).is_ok());
    for end in 0..text.len() {
        std::fs::write(whole.file(), &text[..end]).unwrap();
        if let Err(problems) = whole.load(&[]) {
            assert!(problems.iter().count() > 0 && !problems.to_string().is_empty());
        }
    }
}

#[test]
fn changed_bytes_never_panic() {
    let text: Vec<u8> = default_file()
        .lines()
        .filter(|line| !line.starts_with("# "))
        .flat_map(|line| {
            let line = line.strip_prefix('#').unwrap_or(line);
            format!("{line}\n").into_bytes()
        })
        .collect();
    let setup = Setup::new("");
    // A fixed sequence (Knuth's MMIX generator), so that a failure repeats.
    let mut state: u64 = 7;
    let mut next = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..400 {
        let mut bytes = text.clone();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            bytes[at] = b"\"[]{}=.,#\n\\x0\xc3"[next(14)];
        }
        std::fs::write(setup.file(), &bytes).unwrap();
        if let Err(problems) = setup.load(&[]) {
            assert!(!problems.to_string().is_empty());
        }
    }
}

#[test]
fn problems_are_counted_beyond_a_limit() {
    let text: String = (0..1000).map(|i| format!("zz{i} = 1\n")).collect();
    let problems = Setup::new(format!("{text}{MINIMAL}")).load(&[]).unwrap_err();
    assert_eq!(problems.iter().count(), Problems::MAX);
    assert!(problems.to_string().ends_with("\n(and 800 more problems)"));
    assert_eq!((&problems).into_iter().count(), Problems::MAX);
}

#[test]
fn deep_nesting_is_refused() {
    let text = format!("{MINIMAL}typ = {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    let found = Setup::new(text).problems(&[]);
    assert!(!found.is_empty());
}

#[test]
fn messages_hold_no_value_and_no_control_character() {
    let secret = "hunter2-hunter2-hunter2";
    let mut text = String::new();
    for setting in super::super::table::SETTINGS
        .iter()
        .filter(|setting| setting.group().is_none())
    {
        text.push_str(&format!("{} = \" {secret}\\u001b[31m\"\n", setting.path));
    }
    for key in [
        "url",
        "audience",
        "jwks_url",
        "algorithms",
        "typ",
        "leeway",
        "keys.soft_lifetime",
        "http.ca_file",
    ] {
        let head = if key == "url" { "[[issuers]]\n" } else { "" };
        text.push_str(&format!("{head}{key} = \" {secret}\\u001b[31m\"\n"));
    }
    text.push_str(&format!("\"\\u001b[31mkey\" = \"{secret}\"\n"));
    let found = Setup::new(text).problems(&[("AUTHMESH_ADMIN_TOKEN", "hunter2"), ("AUTHMESH_\u{1b}", secret)]);
    assert!(found.len() > 25, "{found:#?}");
    for line in &found {
        assert!(!line.contains("hunter2"), "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn long_names_are_cut() {
    let name = "n".repeat(100_000);
    let found = Setup::new(format!("{name} = 1\n{MINIMAL}")).problems(&[]);
    assert!(found.len() == 1 && found[0].len() < 400, "{}", found[0].len());
}
