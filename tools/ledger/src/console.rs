//! What a console block says: commands, and what comes back.

/// A command of a console block, and what should come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its line in the block, counted from 0.
    pub at: usize,
    /// The command, in one line.
    pub text: String,
    /// How many lines the command itself takes.
    pub length: usize,
    /// The lines that follow it.
    pub expected: Vec<String>,
}

/// The commands of a block: `$ ` begins one, and a `\` at the end of a line makes it go
/// on. Nothing if the block begins with anything else.
pub fn commands<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Vec<Command>> {
    let mut commands: Vec<Command> = Vec::new();
    let mut continued = false;
    for (at, line) in lines.enumerate() {
        if let Some(text) = line.strip_prefix("$ ") {
            let (text, expected) = (text.to_owned(), Vec::new());
            commands.push(Command { at, text, length: 1, expected });
        } else {
            let command = commands.last_mut()?;
            if continued {
                let begun = command.text.trim_end_matches('\\');
                command.text = format!("{begun}{}", line.trim_start());
                command.length += 1;
            } else {
                command.expected.push(line.to_owned());
            }
        }
        continued = commands.last().is_some_and(|command| {
            command.expected.is_empty() && command.text.ends_with('\\')
        });
    }
    Some(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands may go on over lines; what follows is their output.
    #[test]
    fn reads_commands_and_outputs() {
        let block = "$ curl -X POST \\\n    localhost:8787\n1\n\n$ true";
        let commands = commands(block.lines()).unwrap();
        let seen: Vec<_> = commands
            .iter()
            .map(|c| (c.at, c.text.as_str(), c.length, c.expected.len()))
            .collect();
        assert_eq!(
            seen,
            [(0, "curl -X POST localhost:8787", 2, 2), (4, "true", 1, 0)]
        );
        assert_eq!(super::commands("no command".lines()), None);
    }
}
