//! What was measured: printed, and written as Markdown, JSON and SVG.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use plotters::prelude::*;
use serde_json::{Value, json};

use super::load::Figures;
use super::profile::Profile;

/// One contender's runs of one row.
pub struct Series {
    pub contender: String,
    pub runs: Vec<Figures>,
}

impl Series {
    /// The middle of one figure over the runs.
    pub fn median(&self, of: impl Fn(&Figures) -> f64) -> f64 {
        let mut all: Vec<f64> = self.runs.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    }

    /// The widest distance of a run's rate from the middle one, of it.
    pub fn spread(&self) -> f64 {
        let middle = self.median(|run| run.per_second);
        let distance = |run: &Figures| (run.per_second - middle).abs() / middle;
        self.runs.iter().map(distance).fold(0.0, f64::max)
    }
}

/// What a figure has to be.
#[derive(Clone, Copy)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A figure, mostly a ratio of two from this run, and what it has to be.
pub struct Goal {
    pub what: String,
    pub measured: f64,
    pub bound: Bound,
}

impl Goal {
    pub fn reached(&self) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => self.measured >= bound,
            Bound::AtMost(bound) => self.measured <= bound,
        }
    }

    fn line(&self) -> String {
        let (word, bound) = match self.bound {
            Bound::AtLeast(bound) => ("at least", bound),
            Bound::AtMost(bound) => ("at most", bound),
        };
        let bound = (bound * 1e3).round() / 1e3;
        let reached = if self.reached() { "reached" } else { "MISSED" };
        format!("{}: {:.2} (goal: {word} {bound}), {reached}", self.what, self.measured)
    }
}

/// One kind of work.
pub struct Row {
    pub id: &'static str,
    pub title: String,
    pub series: Vec<Series>,
    pub goals: Vec<Goal>,
    /// What else was measured: what it is, and how much.
    pub facts: Vec<(String, f64)>,
    /// Of the server under test, where it was asked for.
    pub profile: Option<Profile>,
}

impl Row {
    pub fn new(id: &'static str, title: impl Into<String>, series: Vec<Series>) -> Self {
        Row { id, title: title.into(), series, goals: Vec::new(), facts: Vec::new(), profile: None }
    }

    /// The middle of a contender's figure.
    pub fn median(&self, contender: &str, of: impl Fn(&Figures) -> f64) -> f64 {
        let series = self.series.iter().find(|series| series.contender == contender);
        series.map_or(f64::NAN, |series| series.median(of))
    }

    /// One contender's figure over another's.
    pub fn ratio(&self, one: &str, other: &str, of: impl Fn(&Figures) -> f64 + Copy) -> f64 {
        self.median(one, of) / self.median(other, of)
    }

    /// Adds a goal.
    pub fn goal(&mut self, what: impl Into<String>, measured: f64, bound: Bound) {
        self.goals.push(Goal { what: what.into(), measured, bound });
    }

    /// Adds a figure that has no goal.
    pub fn fact(&mut self, what: impl Into<String>, measured: f64) {
        self.facts.push((what.into(), measured));
    }

    fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n", self.title);
        if !self.series.is_empty() {
            text.push_str(
                "| | per second | spread | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|---|\n",
            );
        }
        for series in &self.series {
            let _ = writeln!(
                text,
                "| {} | {:.0} | {:.0} % | {:.2} | {:.2} | {:.1} |",
                series.contender,
                series.median(|run| run.per_second),
                series.spread() * 100.0,
                series.median(|run| run.p50),
                series.median(|run| run.p99),
                series.runs.iter().map(|run| run.max).fold(0.0, f64::max),
            );
        }
        text.push('\n');
        for goal in &self.goals {
            let _ = writeln!(text, "- {}", goal.line());
        }
        for (what, measured) in &self.facts {
            // Counts have no places behind the point.
            let places = if measured.fract() == 0.0 { 0 } else { 2 };
            let _ = writeln!(text, "- {what}: {measured:.places$}");
        }
        if let Some(Profile { time_ms, costs }) = &self.profile {
            let part = |(cost, part): &(&str, f64)| format!("{cost} {:.0} %", part * 100.0);
            let largest: Vec<_> = costs.iter().take(3).map(part).collect();
            let (largest, id) = (largest.join(", "), self.id);
            let _ = writeln!(
                text,
                "- largest costs of {time_ms:.0} ms of the server: {largest} ([flame graph]({id}-flame.svg))"
            );
        }
        text
    }

    fn json(&self) -> Value {
        let series: Vec<_> = self
            .series
            .iter()
            .map(|series| {
                let runs: Vec<_> = series.runs.iter().map(|run| run.to_json()).collect();
                json!({"contender": series.contender, "runs": runs})
            })
            .collect();
        let goals: Vec<_> = self.goals.iter().map(|goal| {
            json!({"what": goal.what, "measured": goal.measured, "reached": goal.reached()})
        }).collect();
        let facts: Vec<_> = self
            .facts
            .iter()
            .map(|(what, measured)| json!({"what": what, "measured": measured}))
            .collect();
        let costs = self.profile.iter().flat_map(|profile| &profile.costs);
        let costs: Vec<_> = costs.map(|(cost, part)| json!({"cost": cost, "part": part})).collect();
        json!({
            "row": self.id, "title": self.title, "series": series, "goals": goals,
            "facts": facts, "costs": costs,
        })
    }

    /// Bars of the rates.
    fn plot(&self, folder: &Path) -> Result<(), Box<dyn Error>> {
        let path = folder.join(format!("{}.svg", self.id));
        let rates: Vec<_> = self.series.iter().map(|s| s.median(|run| run.per_second)).collect();
        let most = rates.iter().copied().fold(0.0, f64::max) * 1.1;
        let area = SVGBackend::new(&path, (640, 60 + 50 * u32::try_from(rates.len())?))
            .into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(24)
            .build_cartesian_2d(0.0..most, 0.0..rates.len() as f64)?;
        chart.configure_mesh().disable_y_mesh().disable_y_axis().draw()?;
        for (place, (series, rate)) in self.series.iter().zip(&rates).enumerate() {
            let bottom = (rates.len() - place) as f64 - 0.9;
            let bar = Rectangle::new(
                [(0.0, bottom), (*rate, bottom + 0.8)],
                Palette99::pick(place).filled(),
            );
            chart.draw_series([bar])?;
            let text = format!("{}: {rate:.0} per second", series.contender);
            chart.draw_series([Text::new(
                text,
                (most * 0.01, bottom + 0.5),
                ("sans-serif", 14),
            )])?;
        }
        area.present()?;
        Ok(())
    }
}

/// Prints a row as soon as it has been measured.
pub fn print(row: &Row) {
    println!("{}", row.markdown());
}

/// Writes `report.md`, `figures.json` and a plot for each row into the folder.
///
/// # Errors
/// A file that can't be written.
pub fn write(rows: &[Row], machine: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let mut text = format!("# Neo Secrets beside OpenBao\n\n{machine}\n\n");
    for row in rows {
        text.push_str(&row.markdown());
        if !row.series.is_empty() {
            row.plot(folder)?;
            let _ = writeln!(text, "\n![{}]({}.svg)", row.title, row.id);
        }
        text.push('\n');
    }
    std::fs::write(folder.join("report.md"), text)?;
    let rows: Vec<_> = rows.iter().map(Row::json).collect();
    let all = json!({"machine": machine, "rows": rows});
    std::fs::write(folder.join("figures.json"), serde_json::to_vec_pretty(&all)?)?;
    Ok(())
}
