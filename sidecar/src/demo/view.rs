//! Showing the demonstration: live on a terminal, as lines elsewhere, as data on request.

use std::collections::VecDeque;
use std::io::{self, Write as _};

use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Sparkline, Table};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

use super::Failure;
use super::sample::{Behind, Phase, Sample};
use super::verdict::{Verdict, grouped, whole};

const HISTORY: u16 = 16;

/// Where the demonstration is shown.
pub(super) enum View {
    Live(Box<Live>),
    Lines,
    Json,
}

pub(super) struct Live {
    terminal: Terminal<CrosstermBackend<io::Stdout>>,
    rates: Vec<VecDeque<u64>>,
    ends_s: Option<f64>,
}

impl View {
    pub(super) fn live(datacenters: usize, ends_s: Option<f64>) -> Result<Self, Failure> {
        let height = u16::try_from(datacenters)
            .unwrap_or(u16::MAX)
            .saturating_add(6);
        let options = TerminalOptions {
            viewport: Viewport::Inline(height),
        };
        let terminal = Terminal::with_options(CrosstermBackend::new(io::stdout()), options)
            .map_err(Failure::new)?;
        Ok(Self::Live(Box::new(Live {
            terminal,
            rates: vec![VecDeque::new(); datacenters],
            ends_s,
        })))
    }

    /// How often it wants to be shown something, in milliseconds.
    pub(super) fn interval_ms(&self) -> u64 {
        match self {
            Self::Live(_) => 125,
            Self::Lines | Self::Json => 1_000,
        }
    }

    pub(super) fn show(&mut self, sample: &Sample) -> Result<(), Failure> {
        match self {
            Self::Live(live) => live.draw(sample),
            Self::Lines => print(&line(sample)),
            Self::Json => print_json(sample),
        }
    }

    /// Something that happened, in words. On a terminal the picture says it.
    pub(super) fn say(&self, text: &str) -> Result<(), Failure> {
        match self {
            Self::Lines => print(text),
            Self::Live(_) | Self::Json => Ok(()),
        }
    }

    pub(super) fn conclude(self, verdict: &Verdict) -> Result<(), Failure> {
        match self {
            Self::Live(_) | Self::Lines => print(&format!("\n{verdict}")),
            Self::Json => print_json(verdict),
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{text}").map_err(Failure::new)
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print(&serde_json::to_string(value).map_err(Failure::new)?)
}

fn line(sample: &Sample) -> String {
    let datacenters = sample.datacenters.iter().map(|row| {
        let behind = row.behind.iter().map(|behind| {
            let link = if behind.linked { "" } else { " CUT" };
            format!("{} {}{link}", behind.datacenter, lag(behind))
        });
        let behind: Vec<_> = behind.collect();
        format!(
            "{}: {:.0}/s, {} carts, behind {}",
            row.datacenter,
            row.writes_per_s,
            row.documents,
            behind.join(", ")
        )
    });
    format!(
        "{:5.1} s  {}",
        sample.elapsed_s,
        datacenters.collect::<Vec<_>>().join("  |  ")
    )
}

fn lag(behind: &Behind) -> String {
    if behind.lag_ms >= 1_000.0 {
        format!("{:.1} s", behind.lag_ms / 1_000.0)
    } else {
        format!("{:.0} ms", behind.lag_ms)
    }
}

impl Live {
    fn draw(&mut self, sample: &Sample) -> Result<(), Failure> {
        for (rates, row) in self.rates.iter_mut().zip(&sample.datacenters) {
            if rates.len() == usize::from(HISTORY) {
                rates.pop_front();
            }
            rates.push_back(whole(row.writes_per_s).unsigned_abs());
        }
        let (rates, ends_s) = (&self.rates, self.ends_s);
        self.terminal
            .draw(|frame| picture(frame, sample, rates, ends_s))
            .map_err(Failure::new)?;
        Ok(())
    }
}

fn picture(frame: &mut Frame<'_>, sample: &Sample, rates: &[VecDeque<u64>], ends_s: Option<f64>) {
    let rows = u16::try_from(sample.datacenters.len()).unwrap_or(u16::MAX);
    let [title, story, _, table, _] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(rows.saturating_add(1)),
        Constraint::Min(0),
    ])
    .areas(frame.area());
    let elapsed = match ends_s {
        Some(ends) if sample.elapsed_s <= ends => format!("{:.1} of {ends:.0} s", sample.elapsed_s),
        _ => format!("{:.1} s", sample.elapsed_s),
    };
    let head = Line::from(vec![
        " anabranch ".bold().reversed(),
        "  carts in ".into(),
        format!("{rows} datacenters").bold(),
        "   ".into(),
        elapsed.dim(),
    ]);
    frame.render_widget(Paragraph::new(head), title);
    frame.render_widget(Paragraph::new(chapter(&sample.phase)), story);
    draw_table(frame, table, sample, rates);
}

fn chapter(phase: &Phase) -> Line<'static> {
    match phase {
        Phase::Writing => Line::from(vec![
            " ● ".green(),
            "everybody writes at home, everybody sees it a one-way delay later".into(),
        ]),
        Phase::Cut { datacenter } => Line::from(vec![
            " ● ".red(),
            datacenter.bold(),
            " is cut off; everybody goes on writing".into(),
        ]),
        Phase::Healed { datacenter } => Line::from(vec![
            " ● ".yellow(),
            datacenter.bold(),
            " is back, and catches up".into(),
        ]),
        Phase::Settling => Line::from(vec![
            " ● ".cyan(),
            "nobody writes any more; comparing".into(),
        ]),
    }
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, sample: &Sample, rates: &[VecDeque<u64>]) {
    let widths = [
        Constraint::Length(12),
        Constraint::Length(8),
        Constraint::Length(HISTORY),
        Constraint::Length(8),
        Constraint::Min(30),
    ];
    let header = Row::new([
        " datacenter",
        "writes/s",
        "",
        "   carts",
        "  behind the others",
    ])
    .style(Style::new().add_modifier(Modifier::DIM));
    let rows = sample.datacenters.iter().map(|row| {
        Row::new([
            Cell::from(format!(" {}", row.datacenter).bold()),
            Cell::from(format!("{:>8}", grouped(whole(row.writes_per_s)))),
            Cell::from(""),
            Cell::from(format!("{:>8}", grouped(row.documents as i64))),
            Cell::from(Line::from(
                row.behind.iter().flat_map(badge).collect::<Vec<_>>(),
            )),
        ])
    });
    frame.render_widget(
        Table::new(rows, widths).header(header).column_spacing(1),
        area,
    );
    for (at, rates) in rates.iter().enumerate() {
        let y = area
            .y
            .saturating_add(1)
            .saturating_add(u16::try_from(at).unwrap_or(u16::MAX));
        let place = Rect {
            x: area.x + 22,
            y,
            width: HISTORY,
            height: 1,
        }
        .intersection(frame.area());
        let data: Vec<u64> = rates.iter().copied().collect();
        frame.render_widget(
            Sparkline::default()
                .data(data)
                .style(Style::new().fg(Color::Blue)),
            place,
        );
    }
}

fn badge(behind: &Behind) -> Vec<Span<'static>> {
    let colour = match (behind.linked, behind.missing_writes, behind.lag_ms) {
        (false, _, _) => Color::Red,
        (true, 1.., 400.0..) => Color::Yellow,
        _ => Color::Green,
    };
    let link = if behind.linked { "━━ " } else { "╳╳ " };
    let mut spans = vec![
        "  ".into(),
        Span::styled(link, colour),
        Span::raw(behind.datacenter),
        Span::raw(" "),
        Span::styled(format!("{:<7}", lag(behind)), colour),
    ];
    if behind.missing_writes > 100 {
        spans.push(format!("({} to come) ", grouped(behind.missing_writes as i64)).dim());
    }
    spans
}
