//! What is shown of what happens: guests' lines and ends, calls, and what of the platform a person has to know.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use jiff::Zoned;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// What this crate itself says.
pub(crate) const OWN: &str = "annex_dev";
/// What is asked and answered.
pub(crate) const CALLS: &str = "annex_dev::calls";
/// What guests say, by the runner.
const GUEST: &str = "annex_runner::guest";
/// How guests end, by the engine.
const ENDS: &str = "annex_engine::failure";
/// What the gateway makes of a runner's no, which its caller is not told.
const GATEWAY: &str = "annex_gateway::call";

/// Standard output, line by line.
#[derive(Debug, Clone, Copy)]
pub struct Terminal;

impl Terminal {
    /// Shows from now on what happens in this process.
    pub fn init() -> Self {
        // An error means that it is shown already.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Self));
        Self
    }

    /// Prints what the program itself says, as it is.
    pub fn say(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // Who does not read any more has what it wanted.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// Prints what happened, with the time.
    pub fn tell(&self, text: &str) {
        self.say(&stamped("", text));
    }

    /// Prints what went wrong, with the time.
    pub fn complain(&self, text: &str) {
        self.say(&stamped("error: ", text));
    }
}

/// Several lines are one below the other.
fn stamped(kind: &str, text: &str) -> String {
    let time = Zoned::now().strftime("%H:%M:%S").to_string();
    let indent = " ".repeat(time.len() + 2 + kind.len());
    let mut lines = harmless(text).trim_end().lines().map(str::to_owned).collect::<Vec<_>>().into_iter();
    let mut all = format!("{time}  {kind}{}", lines.next().unwrap_or_default());
    for line in lines {
        // Writing to a String cannot fail.
        let _ = write!(all, "\n{indent}{line}");
    }
    all
}

/// Without what moves the cursor or changes colours: texts are the guests' and the compiler's.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { ' ' } else { c }).collect()
}

impl<S: Subscriber> Layer<S> for Terminal {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= wanted(metadata.target())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(line) = shown(event.metadata(), &fields) {
            self.say(&line);
        }
    }
}

fn wanted(target: &str) -> Level {
    match target {
        GUEST | ENDS => Level::DEBUG,
        GATEWAY | OWN | CALLS => Level::INFO,
        ours if ours.starts_with("annex_") => Level::WARN,
        _ => Level::ERROR,
    }
}

fn shown(metadata: &Metadata<'_>, fields: &Fields) -> Option<String> {
    let level = metadata.level().as_str().to_ascii_lowercase();
    match metadata.target() {
        GUEST => Some(stamped(&format!("guest {level}: "), &unescaped(fields.get("line")))),
        ENDS => Some(stamped("guest ended: ", fields.get("error"))),
        GATEWAY if *metadata.level() >= Level::INFO => match fields.message.as_str() {
            "the runner refuses" => {
                let message = unescaped(fields.get("message"));
                Some(stamped("refused: ", &format!("{} ({message})", fields.get("code"))))
            }
            // The same call has a line of its own.
            _ => None,
        },
        OWN | CALLS => Some(stamped(if level == "info" { "" } else { "warning: " }, &fields.message)),
        _ => {
            let others =
                fields.others.iter().map(|(name, value)| format!("; {name}: {value}")).collect::<String>();
            Some(stamped(&format!("{level}: "), &format!("{}{others}", fields.message)))
        }
    }
}

/// An event's text and its fields.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    fn get(&self, name: &str) -> &str {
        self.others.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    fn add(&mut self, field: &Field, value: String) {
        // An event may have a field `message` beside its text, which comes first.
        if field.name() == "message" && self.message.is_empty() {
            self.message = value;
        } else {
            self.others.push((field.name(), value));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

/// What Rust's Debug made of a text, as far as it harms no terminal.
fn unescaped(text: &str) -> String {
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => plain.push('\n'),
            Some('t') => plain.push('\t'),
            Some(same @ ('"' | '\\' | '\'')) => plain.push(same),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_are_readable_and_draw_nothing() {
        let said = format!("{:?}", "it's \"so\"\n\tand\x1b[31m so\\n");
        assert_eq!(unescaped(&said), "it's \"so\"\n\tand\\u{1b}[31m so\\n");
        assert_eq!(harmless("a\x1b[2Jb\r\nc"), "a [2Jb \nc");
        assert_eq!(unescaped("plain\\"), "plain\\");
    }

    #[test]
    fn a_field_called_message_is_told_from_the_text() {
        #[derive(Clone, Default)]
        struct Kept(std::sync::Arc<parking_lot::Mutex<Vec<(String, String)>>>);
        impl<S: Subscriber> Layer<S> for Kept {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                let mut fields = Fields::default();
                event.record(&mut fields);
                self.0.lock().push((fields.message.clone(), fields.get("message").to_owned()));
            }
        }
        let kept = Kept::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(kept.clone()), || {
            tracing::info!(code = "Trap", message = ?"why", "the runner refuses");
        });
        assert_eq!(*kept.0.lock(), [("the runner refuses".to_owned(), "\"why\"".to_owned())]);
    }

    #[test]
    fn several_lines_are_one_below_the_other() {
        let text = stamped("guest: ", "one\ntwo\n\n");
        let (first, second) = text.split_once('\n').unwrap();
        assert_eq!(first.find("one"), second.find("two"), "{text}");
    }
}
