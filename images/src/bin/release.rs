//! Puts a release together from what a workspace has built: `cargo xtask release` calls it.
//!
//! ```text
//! release DIRECTORY [--file TO=FILE]... [--folder TO=FOLDER]... [--chart FOLDER]...
//!                   [--program PACKAGE=ARCHITECTURE=FILE]...
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use images::release::Release;

fn main() -> ExitCode {
    let made = plan(std::env::args().skip(1)).and_then(|(directory, release)| release.assemble(&directory));
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("release: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Result<(PathBuf, Release)> {
    let directory = arguments.next().context("which directory?")?.into();
    let mut release = Release::default();
    while let Some(flag) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{flag} has no value"))?;
        let parts: Vec<&str> = value.split('=').collect();
        match (flag.as_str(), &parts[..]) {
            ("--file", [to, file]) => release.files.push(((*to).to_owned(), file.into())),
            ("--folder", [to, folder]) => release.folders.push(((*to).to_owned(), folder.into())),
            ("--chart", [folder]) => release.charts.push(folder.into()),
            ("--program", [package, architecture, file]) => {
                release.programs.push(((*package).to_owned(), (*architecture).to_owned(), file.into()));
            }
            _ => bail!("{flag} {value} is not understood"),
        }
    }
    Ok((directory, release))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(PathBuf, Release)> {
        plan(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_plan_names_files_folders_charts_and_programs() {
        let line = "out --file modules/a.wasm=a.wasm --folder envoy=e --chart c --program p=amd64=bin/p";
        let (directory, release) = read(line).unwrap();
        assert_eq!(directory, PathBuf::from("out"));
        assert_eq!(
            release,
            Release {
                files: vec![("modules/a.wasm".to_owned(), "a.wasm".into())],
                folders: vec![("envoy".to_owned(), "e".into())],
                charts: vec!["c".into()],
                programs: vec![("p".to_owned(), "amd64".to_owned(), "bin/p".into())],
            }
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, named) in
            [("", "which directory?"), ("out --file", "--file has no value"), ("out --file a", "--file a is")]
        {
            let why = format!("{:#}", read(line).unwrap_err());
            assert!(why.contains(named), "{line}: {why}");
        }
    }
}
