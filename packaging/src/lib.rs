//! Man pages and shell completions of a program, made from its command line.
//!
//! Each program writes its own (`millstreamd --write-reference DIR`); `packaging/reference` asks
//! them all. The folder is laid out as `/usr/share` is:
//!
//! ```text
//! man/man1/<program>[-<subcommand>…].1
//! bash-completion/completions/<program>
//! zsh/site-functions/_<program>
//! fish/vendor_completions.d/<program>.fish
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;
use clap_complete::generate;
use thiserror::Error;

/// A page that could not be written.
#[derive(Debug, Error)]
#[error("cannot write {path}: {cause}")]
pub struct WriteError {
    path: PathBuf,
    cause: io::Error,
}

/// A shell, the folder in which it looks for completions, and the file's name there by program.
type ShellPlace = (Shell, &'static str, fn(&str) -> String);

/// Shells that have completions.
const SHELLS: &[ShellPlace] = &[
    (Shell::Bash, "bash-completion/completions", str::to_owned),
    (Shell::Zsh, "zsh/site-functions", |program| {
        format!("_{program}")
    }),
    (Shell::Fish, "fish/vendor_completions.d", |program| {
        format!("{program}.fish")
    }),
];

/// Writes the man pages and completions of a program under `share`. What is hidden from its help
/// is not in the man pages either.
///
/// # Errors
/// A folder cannot be made or a file not be written.
pub fn write_reference(program: &Command, share: &Path) -> Result<(), WriteError> {
    let manual = folder(share, "man/man1")?;
    clap_mangen::generate_to(program.clone(), &manual).map_err(failed(&manual))?;
    for (shell, place, file_name) in SHELLS {
        let path = folder(share, place)?.join(file_name(program.get_name()));
        let mut text = Vec::new();
        generate(*shell, &mut program.clone(), program.get_name(), &mut text);
        fs::write(&path, text).map_err(failed(&path))?;
    }
    Ok(())
}

fn folder(share: &Path, place: &str) -> Result<PathBuf, WriteError> {
    let path = share.join(place);
    fs::create_dir_all(&path).map_err(failed(&path))?;
    Ok(path)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    |cause| WriteError { path, cause }
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn program() -> Command {
        Command::new("mill")
            .version("1.2.3")
            .about("Grinds")
            .arg(Arg::new("fineness").long("fineness").help("How fine"))
            .arg(Arg::new("secret").long("secret").hide(true))
            .subcommand(Command::new("stop").about("Stands still"))
            .subcommand(Command::new("inner").hide(true))
    }

    #[test]
    fn every_page_is_written_and_tells_the_options() {
        let share = tempfile::tempdir().expect("a folder can be made");
        write_reference(&program(), share.path()).expect("it is written");
        for (file, words) in [
            ("man/man1/mill.1", "fineness"),
            ("man/man1/mill-stop.1", "Stands still"),
            ("bash-completion/completions/mill", "--fineness"),
            ("zsh/site-functions/_mill", "--fineness"),
            ("fish/vendor_completions.d/mill.fish", "fineness"),
        ] {
            let text = fs::read_to_string(share.path().join(file)).expect("it is there");
            assert!(text.contains(words), "no {words} in {file}:\n{text}");
            if file.starts_with("man") {
                assert!(
                    !text.contains("secret"),
                    "{file} tells what is hidden:\n{text}"
                );
            }
        }
        assert!(!share.path().join("man/man1/mill-inner.1").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let share = tempfile::tempdir().expect("a folder can be made");
        fs::write(share.path().join("man"), "in the way").expect("it is written");
        let error = write_reference(&program(), share.path()).expect_err("man is a file");
        let words = error.to_string();
        assert!(words.contains("man/man1"), "{words}");
    }
}
