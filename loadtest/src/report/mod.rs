//! What a run leaves behind: tables on the way, and in the output folder `results.json`, `results.txt` and plots.

mod json;
pub(crate) mod machine;
mod plots;
mod svg;
pub(crate) mod table;

use std::path::Path;

use anyhow::Context;

use crate::run::outcome::Outcome;
use machine::Machine;

pub(crate) fn write(outcomes: &[Outcome], machine: &Machine, folder: &Path) -> anyhow::Result<()> {
    let results = serde_json::to_vec_pretty(&json::results(outcomes, machine)?)?;
    save(&folder.join("results.json"), &results)?;
    let mut text = format!("{machine}\n");
    for outcome in outcomes {
        text.push_str(&table::scenario(outcome)?);
        for (name, chart) in plots::of(outcome)? {
            save(&folder.join(format!("{name}.svg")), svg::draw(&chart).as_bytes())?;
        }
    }
    save(&folder.join("results.txt"), text.as_bytes())
}

fn save(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}
