//! What the sections found: tables for the terminal (and for documents: they are Markdown), and plots as SVG.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// What is measured, and how it is printed.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name with its unit.
    pub name: &'static str,
    /// Digits after the point.
    pub digits: usize,
}

/// One quantity of both servers.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Hardtack's.
    pub hardtack: f64,
    /// redis-server's.
    pub redis: f64,
}

impl Pair {
    /// Hardtack's by redis-server's.
    pub fn ratio(self) -> f64 {
        self.hardtack / self.redis
    }
}

/// The result of a section.
#[derive(Clone, Debug)]
pub struct Table {
    /// For the heading, and for the names of its plots.
    pub title: String,
    /// The groups of columns.
    pub metrics: Vec<Metric>,
    /// Per workload, a pair for each metric.
    pub rows: Vec<(String, Vec<Pair>)>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: &str, metrics: Vec<Metric>) -> Table {
        Table {
            title: title.into(),
            metrics,
            rows: Vec::new(),
        }
    }

    /// Adds a row of medians: for each server, its rounds, and in each round a value for each metric.
    pub fn add(&mut self, label: impl Into<String>, rounds: &Rounds) {
        let pairs = (0..self.metrics.len()).map(|metric| {
            let of = |server: usize| {
                median(
                    rounds.0[server]
                        .iter()
                        .map(|values| values[metric])
                        .collect(),
                )
            };
            Pair {
                hardtack: of(0),
                redis: of(1),
            }
        });
        self.rows.push((label.into(), pairs.collect()));
    }

    /// The table as Markdown.
    pub fn markdown(&self) -> String {
        let mut cells = vec![vec![String::new()]];
        for metric in &self.metrics {
            cells[0].extend([
                format!("{}: hardtack", metric.name),
                "redis".into(),
                "ratio".into(),
            ]);
        }
        for (label, pairs) in &self.rows {
            let mut row = vec![label.clone()];
            for (pair, metric) in pairs.iter().zip(&self.metrics) {
                row.extend([
                    number(pair.hardtack, metric.digits),
                    number(pair.redis, metric.digits),
                ]);
                row.push(if pair.ratio().is_finite() {
                    format!("{:.2}", pair.ratio())
                } else {
                    "-".into()
                });
            }
            cells.push(row);
        }
        let widths: Vec<usize> = (0..cells[0].len())
            .map(|c| cells.iter().map(|r| r[c].len()).max().unwrap_or(0))
            .collect();
        let mut out = format!("\n## {}\n\n", self.title);
        for (i, row) in cells.iter().enumerate() {
            for (c, cell) in row.iter().enumerate() {
                let width = widths[c];
                let _ = if c == 0 {
                    write!(out, "| {cell:width$} ")
                } else {
                    write!(out, "| {cell:>width$} ")
                };
            }
            out.push_str("|\n");
            if i == 0 {
                let rule = |(c, w): (usize, &usize)| {
                    format!("|{}{}", "-".repeat(w + 1), if c == 0 { "-" } else { ":" })
                };
                out.push_str(&widths.iter().enumerate().map(rule).collect::<String>());
                out.push_str("|\n");
            }
        }
        out
    }

    /// Writes a bar chart of each metric into `directory`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn plot(&self, directory: &Path) -> io::Result<()> {
        for (index, metric) in self.metrics.iter().enumerate() {
            let path = directory.join(format!(
                "{}.svg",
                file_name(&format!("{} {}", self.title, metric.name))
            ));
            let bars: Vec<(&str, Pair)> = self
                .rows
                .iter()
                .map(|(label, pairs)| (label.as_str(), pairs[index]))
                .collect();
            // Wide enough for the labels, of about six pixels a letter.
            let longest = bars.iter().map(|b| b.0.len()).max().unwrap_or(0);
            let slot = (longest * 6 + 12).max(70);
            let size = (u32::try_from(bars.len() * slot + 160).unwrap_or(2000), 400);
            let area = SVGBackend::new(&path, size).into_drawing_area();
            bar_chart(&area, &format!("{}: {}", self.title, metric.name), &bars)
                .map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// What both servers, Hardtack first, gave in each round: values in the order of the table's metrics.
#[derive(Clone, Debug, Default)]
pub struct Rounds(pub [Vec<Vec<f64>>; 2]);

/// The median; 0 of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

const COLOURS: [RGBColor; 2] = [RGBColor(0x1f, 0x77, 0xb4), RGBColor(0xd6, 0x27, 0x28)];
const NAMES: [&str; 2] = ["hardtack", "redis"];

type Drawn = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn bar_chart(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    bars: &[(&str, Pair)],
) -> Drawn {
    let top = bars
        .iter()
        .map(|(_, p)| p.hardtack.max(p.redis))
        .fold(0.0, f64::max)
        .max(1e-9)
        * 1.1;
    area.fill(&WHITE).map_err(|e| e.to_string())?;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(80)
        .build_cartesian_2d(0.0..bars.len() as f64, 0.0..top)
        .map_err(|e| e.to_string())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_label_formatter(&|y| number(*y, usize::from(top < 10.0) * 2))
        .label_style(("sans-serif", 11))
        .draw()
        .map_err(|e| e.to_string())?;
    for (server, colour) in COLOURS.iter().enumerate() {
        let bar = |(i, (_, pair)): (usize, &(&str, Pair))| {
            let left = i as f64 + 0.15 + 0.35 * server as f64;
            let height = if server == 0 {
                pair.hardtack
            } else {
                pair.redis
            };
            Rectangle::new([(left, 0.0), (left + 0.33, height)], colour.filled())
        };
        let key = move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled());
        let series = chart
            .draw_series(bars.iter().enumerate().map(bar))
            .map_err(|e| e.to_string())?;
        series.label(NAMES[server]).legend(key);
    }
    let style = ("sans-serif", 11)
        .into_text_style(area)
        .pos(Pos::new(HPos::Center, VPos::Top));
    for (i, (label, _)) in bars.iter().enumerate() {
        let (x, y) = chart.plotting_area().map_coordinate(&(i as f64 + 0.5, 0.0));
        area.draw_text(label, &style, (x, y + 8))
            .map_err(|e| e.to_string())?;
    }
    finish(area, &mut chart)
}

/// Writes a chart of lines over time (seconds), one for each server, with a logarithmic vertical axis.
///
/// # Errors
/// If the file cannot be written.
pub fn plot_timelines(
    directory: &Path,
    title: &str,
    unit: &str,
    lines: &[Vec<(f64, f64)>; 2],
) -> io::Result<()> {
    let path = directory.join(format!("{}.svg", file_name(title)));
    let area = SVGBackend::new(&path, (900, 400)).into_drawing_area();
    line_chart(&area, &format!("{title} ({unit})"), lines).map_err(io::Error::other)
}

fn line_chart(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    lines: &[Vec<(f64, f64)>; 2],
) -> Drawn {
    let points = || lines.iter().flatten();
    let end = points().map(|p| p.0).fold(0.1, f64::max);
    let top = points().map(|p| p.1).fold(1.0, f64::max) * 1.5;
    let bottom = points()
        .map(|p| p.1)
        .filter(|y| *y > 0.0)
        .fold(top, f64::min)
        / 1.5;
    area.fill(&WHITE).map_err(|e| e.to_string())?;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(80)
        .build_cartesian_2d(0.0..end, (bottom..top).log_scale())
        .map_err(|e| e.to_string())?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .label_style(("sans-serif", 11))
        .draw()
        .map_err(|e| e.to_string())?;
    for ((line, colour), name) in lines.iter().zip(&COLOURS).zip(NAMES) {
        let line = line.iter().filter(|p| p.1 > 0.0).copied();
        let series = chart
            .draw_series(LineSeries::new(line, colour))
            .map_err(|e| e.to_string())?;
        series
            .label(name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], colour.filled()));
    }
    finish(area, &mut chart)
}

fn finish<'a, C>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    chart: &mut ChartContext<'a, SVGBackend<'a>, C>,
) -> Drawn
where
    C: CoordTranslate,
{
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()
        .map_err(|e| e.to_string())?;
    area.present().map_err(|e| e.to_string())?;
    Ok(())
}

fn file_name(title: &str) -> String {
    let letters = title
        .to_lowercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    letters
        .split('-')
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join("-")
}

/// A number with its thousands set apart.
fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) && !out.ends_with('-') {
            out.push(' ');
        }
        out.push(c);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_holds_medians_and_their_ratio() {
        let mut table = Table::new(
            "T",
            vec![Metric {
                name: "ops/s",
                digits: 0,
            }],
        );
        let rounds = Rounds([
            vec![vec![30.0], vec![1e6], vec![4000.0]],
            vec![vec![1000.0], vec![3000.0]],
        ]);
        table.add("SET", &rounds);
        assert!(
            table
                .markdown()
                .contains("| SET |           4 000 | 2 000 |  2.00 |"),
            "{}",
            table.markdown()
        );
    }
}
