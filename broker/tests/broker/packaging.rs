//! What a packager takes: the unit, the settings beside it, the Dockerfile, man pages and
//! completions. Each names things of this repository, and they must be there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use millstream_broker::config::{BrokerConfig, Settings};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|cause| panic!("{path}: {cause}"))
}

/// Crates by name, and the programs of all of them.
fn crates_and_programs() -> (BTreeSet<String>, BTreeSet<String>) {
    let quoted = |line: &str, key: &str| -> Option<String> {
        let value = line.strip_prefix(key)?.trim_start().strip_prefix('=')?;
        Some(value.trim().trim_matches('"').to_owned())
    };
    let (mut crates, mut programs) = (BTreeSet::new(), BTreeSet::new());
    let workspace = read("Cargo.toml");
    let members = workspace.split("members = [").nth(1).expect("a list");
    for member in members
        .split(']')
        .next()
        .expect("it ends")
        .split('"')
        .skip(1)
        .step_by(2)
    {
        let folder = root().join(member);
        let manifest = read(&format!("{member}/Cargo.toml"));
        let mut table = "";
        let mut name = None;
        let mut named_program = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                table = line.trim();
            } else if let Some(value) = quoted(line, "name") {
                match table {
                    "[package]" => name = Some(value),
                    "[[bin]]" => {
                        named_program = true;
                        programs.insert(value);
                    }
                    _ => {}
                }
            }
        }
        let name = name.unwrap_or_else(|| panic!("{member} has no name"));
        if folder.join("src/main.rs").exists() && !named_program {
            programs.insert(name.clone());
        }
        crates.insert(name);
    }
    (crates, programs)
}

/// The values of a key of a unit, in order.
fn unit_values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let values = unit
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.collect()
}

const UNIT: &str = "packaging/systemd/millstreamd.service";
const SETTINGS_PATH: &str = "/etc/millstream/server.properties";

#[test]
fn the_unit_starts_our_daemon_with_our_settings() {
    let unit = read(UNIT);
    let (_, programs) = crates_and_programs();
    let [start] = unit_values(&unit, "ExecStart")[..] else {
        panic!("it starts one program");
    };
    let mut words = start.split(' ');
    let program = words.next().and_then(|path| path.strip_prefix("/usr/bin/"));
    let program = program.expect("a program of the package");
    assert!(
        programs.contains(program),
        "{program} is none of {programs:?}"
    );
    assert_eq!(words.collect::<Vec<_>>(), ["--config", SETTINGS_PATH]);

    assert_eq!(unit_values(&unit, "Type"), ["notify"]);
    assert_eq!(unit_values(&unit, "LimitMEMLOCK"), ["infinity"]);
    let [files] = unit_values(&unit, "LimitNOFILE")[..] else {
        panic!("one limit");
    };
    assert!(files.parse::<u32>().expect("a number") >= 100_000);
    let [user] = unit_values(&unit, "User")[..] else {
        panic!("one user");
    };
    let users = read("packaging/systemd/millstream.sysusers.conf");
    assert!(
        users
            .lines()
            .any(|line| line.starts_with(&format!("u {user} ")))
    );
    let [state] = unit_values(&unit, "StateDirectory")[..] else {
        panic!("one folder");
    };
    let data = settings("packaging/server.properties").log_dir;
    assert!(
        data.starts_with(Path::new("/var/lib").join(state)),
        "{data:?}"
    );
}

/// The settings of a file, as the daemon takes them.
#[track_caller]
fn settings(path: &str) -> BrokerConfig {
    let mut settings = Settings::default();
    settings
        .take_properties(&read(path))
        .expect("it takes them");
    let config = BrokerConfig::new(settings).expect("they go together");
    assert_eq!(config.settings.notices(), [""; 0], "{path}");
    config
}

#[test]
fn the_settings_of_packages_are_taken_and_what_they_propose_too() {
    for path in [
        "packaging/server.properties",
        "packaging/container.properties",
    ] {
        settings(path);
        let mut proposed = Settings::default();
        for line in read(path).lines() {
            let line = line.trim_start_matches("# ");
            if line.contains('=') && !line.contains(' ') {
                proposed.take_pair(line).expect("a setting");
            }
        }
        BrokerConfig::new(proposed).expect("they go together");
    }
    // What is served from a container is served to the outside.
    let config = settings("packaging/container.properties");
    assert!(
        config
            .listeners
            .iter()
            .all(|listener| listener.host == "0.0.0.0")
    );
}

/// The instructions of a Dockerfile, each on one line, without comments.
fn instructions(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let filled = joined.lines().filter(|line| !line.trim().is_empty());
    filled
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn the_dockerfile_names_what_is_there() {
    let (crates, programs) = crates_and_programs();
    let instructions = instructions(&read("packaging/Dockerfile"));
    let toolchain = read("rust-toolchain.toml");
    let image = instructions[0]
        .strip_prefix("FROM rust:")
        .expect("it builds with Rust first");
    let version = image.split('-').next().unwrap_or_default();
    assert!(
        toolchain.contains(&format!("\"{version}.")),
        "{version} is not the toolchain's"
    );

    let mut built = BTreeSet::new();
    let mut stages = BTreeSet::new();
    for instruction in &instructions {
        let (word, rest) = instruction
            .split_once(' ')
            .expect("an instruction has arguments");
        match word {
            "FROM" => {
                if let Some((_, stage)) = rest.split_once(" AS ") {
                    stages.insert(stage.to_owned());
                }
            }
            "COPY" => match rest.strip_prefix("--from=") {
                Some(rest) => {
                    let stage = rest.split(' ').next().unwrap_or_default();
                    assert!(stages.contains(stage), "there is no stage {stage}");
                }
                None => {
                    let source = rest.split(' ').next().unwrap_or_default();
                    assert!(
                        root().join(source).exists(),
                        "COPY {source}: it is not there"
                    );
                }
            },
            "RUN" => {
                let words: Vec<&str> = rest.split(' ').collect();
                for pair in words.windows(2) {
                    if pair[0] == "-p" {
                        assert!(crates.contains(pair[1]), "there is no crate {}", pair[1]);
                    }
                }
                for word in words {
                    if let Some(program) = word.strip_prefix("target/release/") {
                        assert!(programs.contains(program), "there is no program {program}");
                        built.insert(program.to_owned());
                    } else if word.starts_with("packaging/") {
                        assert!(root().join(word).exists(), "{word} is not there");
                    }
                }
            }
            "ENTRYPOINT" => {
                let expected = format!("[\"millstreamd\", \"--config\", \"{SETTINGS_PATH}\"]");
                assert_eq!(rest, expected);
            }
            "WORKDIR" | "USER" | "VOLUME" | "EXPOSE" | "STOPSIGNAL" | "HEALTHCHECK" => {}
            other => panic!("{other}: what does it need?"),
        }
    }
    assert_eq!(built, programs, "every program is in the image");
    let config = settings("packaging/container.properties");
    let exposed = instructions
        .iter()
        .find_map(|line| line.strip_prefix("EXPOSE "));
    for port in exposed.expect("it exposes ports").split(' ') {
        let metrics = config.metrics_listener.as_deref().unwrap_or_default();
        let served = metrics.ends_with(&format!(":{port}"))
            || config
                .listeners
                .iter()
                .any(|listener| listener.port.to_string() == port);
        assert!(served, "nothing listens at {port}");
    }
    let volume = instructions
        .iter()
        .find_map(|line| line.strip_prefix("VOLUME "));
    assert!(
        config
            .log_dir
            .starts_with(volume.expect("it keeps its data"))
    );
}

#[test]
fn the_daemon_writes_its_man_page_and_completions() {
    let share = tempfile::tempdir().expect("a folder can be made");
    let status = Command::new(env!("CARGO_BIN_EXE_millstreamd"))
        .arg("--write-reference")
        .arg(share.path())
        .status();
    assert!(status.expect("it runs").success());
    for (file, words) in [
        ("man/man1/millstreamd.1", "MILLSTREAM_LOG"),
        ("bash-completion/completions/millstreamd", "--list-settings"),
        ("zsh/site-functions/_millstreamd", "--list-settings"),
        (
            "fish/vendor_completions.d/millstreamd.fish",
            "list-settings",
        ),
    ] {
        let text = fs::read_to_string(share.path().join(file)).expect("it is written");
        assert!(text.contains(words), "no {words} in {file}:\n{text}");
        if file.starts_with("man") {
            assert!(
                !text.contains("write-reference"),
                "{file} tells what is hidden"
            );
        }
    }
}

#[test]
fn every_program_is_asked_for_its_pages() {
    let script = read("packaging/reference");
    for program in crates_and_programs().1 {
        assert!(
            script.contains(&format!("\"$bin/{program}\" ")),
            "{program}"
        );
    }
}
