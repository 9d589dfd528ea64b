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

/// Writes the manual page: the command's, and below it a section for each of its commands.
pub(crate) fn page(out: &mut dyn Write) -> Result<Outcome, Error> {
    let mut command = Arguments::command();
    command.build();
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command.clone());
    page.render(&mut text)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        writeln!(text, ".SH {}", sub.get_name().to_uppercase())?;
        let page = clap_mangen::Man::new(sub.clone());
        page.render_synopsis_section(&mut text)?;
        page.render_description_section(&mut text)?;
        page.render_options_section(&mut text)?;
    }
    out.write_all(&text)?;
    Ok(Outcome::Right)
}
