//! Completions and the manual page, made of the arguments.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{Arguments, Error, Outcome};

/// Writes the completions for a shell.
pub(crate) fn completions(shell: Shell, out: &mut dyn Write) -> Result<Outcome, Error> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "inference-mesh", &mut text);
    out.write_all(&text)?;
    Ok(Outcome::Right)
}

/// Writes the manual page: the command's, and below it a section for each of its commands with its examples.
pub(crate) fn page(out: &mut dyn Write) -> Result<Outcome, Error> {
    let mut command = Arguments::command();
    command.build();
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command.clone());
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    // The commands have no pages of their own, which clap_mangen's section would name.
    writeln!(text, ".SH COMMANDS")?;
    let commands = || command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
    for sub in commands() {
        let about = sub.get_about().map_or_else(String::new, ToString::to_string);
        writeln!(text, ".TP\n{}\n{}", sub.get_name(), plain(&about))?;
    }
    page.render_version_section(&mut text)?;
    for sub in commands() {
        writeln!(text, ".SH {}", sub.get_name().to_uppercase())?;
        let page = clap_mangen::Man::new(sub.clone());
        page.render_synopsis_section(&mut text)?;
        page.render_description_section(&mut text)?;
        page.render_options_section(&mut text)?;
        if let Some(more) = sub.get_after_help() {
            writeln!(text, ".PP\n.nf\n{}\n.fi", plain(&more.to_string()))?;
        }
    }
    out.write_all(&text)?;
    Ok(Outcome::Right)
}

/// A text of which roff takes nothing for itself.
fn plain(text: &str) -> String {
    let line = |line: &str| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}
