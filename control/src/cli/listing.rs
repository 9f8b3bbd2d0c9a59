//! Lists of objects in every format that a read prints.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::{Env, Exit, Failure, Format};

/// Objects of one kind.
#[derive(Debug)]
pub(crate) struct Listing {
    /// As `-o name` shows it: `secret`.
    pub(crate) kind: &'static str,
    /// The heads of the columns; those from `wide_from` on are shown with `-o wide` only.
    pub(crate) columns: &'static [&'static str],
    /// The first column that only `-o wide` shows.
    pub(crate) wide_from: usize,
    /// The objects, in order.
    pub(crate) items: Vec<Item>,
}

/// One object: its cells and its machine form.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) cells: Vec<String>,
    pub(crate) object: Value,
}

impl Listing {
    /// Prints the list.
    pub(crate) fn print(self, env: &Env) -> Result<Exit, Failure> {
        match env.globals.output {
            Format::Table => self.table(env, self.wide_from),
            Format::Wide => self.table(env, self.columns.len()),
            Format::Name => {
                self.items.iter().for_each(|item| env.output.data(format!("{}/{}", self.kind, item.name)))
            }
            Format::Jsonl => self.items.iter().for_each(|item| env.output.data(&item.object)),
            Format::Json => env.output.data(pretty(&self.objects())?),
            Format::Yaml => env.output.data(yaml(&self.objects())?),
            Format::Sh | Format::Dotenv | Format::Docker | Format::Pem | Format::Bundle | Format::Java => {
                return Err(unsupported());
            }
        }
        Ok(Exit::Ok)
    }

    fn objects(&self) -> Value {
        self.items.iter().map(|item| item.object.clone()).collect()
    }

    fn table(&self, env: &Env, columns: usize) {
        if self.items.is_empty() {
            env.output.say(format!("no {}s", self.kind));
            return;
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.columns.iter().take(columns));
        for item in &self.items {
            table.add_row(item.cells.iter().take(columns));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for line in table.lines() {
            env.output.data(line.trim_end());
        }
    }
}

/// Prints one object: as lines of `Name: value` or in a machine format.
///
/// # Errors
/// A format that is none for objects.
pub fn describe(env: &Env, name: &str, lines: &[(&str, String)], object: &Value) -> Result<Exit, Failure> {
    match env.globals.output {
        Format::Table | Format::Wide => {
            let width = lines.iter().map(|(head, _)| head.len()).max().unwrap_or(0) + 2;
            for (head, text) in lines {
                env.output.data(format!("{:<width$}{text}", format!("{head}:")));
            }
        }
        Format::Name => env.output.data(name),
        Format::Jsonl => env.output.data(object),
        Format::Json => env.output.data(pretty(object)?),
        Format::Yaml => env.output.data(yaml(object)?),
        Format::Sh | Format::Dotenv | Format::Docker | Format::Pem | Format::Bundle | Format::Java => {
            return Err(unsupported());
        }
    }
    Ok(Exit::Ok)
}

fn pretty(value: &Value) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::new(Exit::Error, error.to_string()))
}

fn yaml(value: &Value) -> Result<String, Failure> {
    let text =
        serde_saphyr::to_string(value).map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
    Ok(text.trim_end().to_owned())
}

fn unsupported() -> Failure {
    Failure::new(Exit::Usage, "this prints -o table, wide, json, yaml, jsonl or name")
}
