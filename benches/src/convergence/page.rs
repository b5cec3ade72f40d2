//! The results as a page for people: one file that needs no other.

use std::fmt::Write as _;

use super::chart::{escaped, number};
use super::plots;
use super::results::{CatchUp, Goal, LoadResults, Phase, Quantiles, Results, TopologyResults};

const STYLE: &str = include_str!("page.css");
/// Directions of a table that is shown without being asked for.
const DIRECTIONS_SHOWN: usize = 6;

pub(crate) fn html(results: &Results) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Anabranch: convergence</title><style>{STYLE}</style></head><body><main>\
         <h1>Convergence</h1><p class=\"note\">How long after a write begins in one datacenter it is visible in the \
         others, what that takes on the wire, and how a datacenter catches up. The floor is the one-way delay, which \
         nothing can beat: the time of bare datagrams over the same links in the same seconds.</p>"
    );
    goals(&results.goals, &mut page);
    for topology in &results.topologies {
        one_topology(topology, &mut page);
    }
    how(results, &mut page);
    page.push_str("</main></body></html>\n");
    page
}

fn badge(goal: &Goal) -> &'static str {
    match goal.met {
        true => "<span class=\"badge met\">met</span>",
        false => "<span class=\"badge missed\">not met</span>",
    }
}

fn goals(goals: &[Goal], page: &mut String) {
    let met = goals.iter().filter(|goal| goal.met).count();
    let _ = write!(
        page,
        "<h2>Goals: {met} of {} met</h2><div class=\"card scroll\"><table><tr><th>Topology</th><th class=\"text\">Phase</th>\
         <th class=\"text\">What</th><th>Found</th><th>Goal, at most</th><th></th></tr>",
        goals.len()
    );
    for goal in goals {
        let _ = write!(
            page,
            "<tr><td>{}</td><td class=\"text\">{}</td><td class=\"text\">{}</td><td>{} {}</td>\
             <td class=\"goal\">{} {}</td><td>{}</td></tr>",
            escaped(&goal.topology),
            escaped(&goal.phase),
            escaped(&goal.what),
            number(goal.found),
            goal.unit,
            number(goal.limit),
            goal.unit,
            badge(goal)
        );
    }
    page.push_str("</table></div>");
}

fn one_topology(topology: &TopologyResults, page: &mut String) {
    let _ = write!(page, "<h2>{}</h2>", escaped(&topology.title));
    if let Some(why) = &topology.failed {
        let _ = write!(
            page,
            "<div class=\"card\"><span class=\"badge missed\">ended before its time</span><pre>{}</pre></div>",
            escaped(why)
        );
    }
    let charts = plots::of(topology);
    if !charts.is_empty() {
        page.push_str("<div class=\"charts\">");
        for chart in &charts {
            page.push_str(&chart.html());
        }
        page.push_str("</div>");
    }
    overview(topology, page);
    bytes_bars(&topology.phases, page);
    for phase in &topology.phases {
        one_phase(phase, page);
    }
    distances(topology, page);
}

fn cells(quantiles: &Quantiles, page: &mut String) {
    for value in [quantiles.p50, quantiles.p99, quantiles.max] {
        let _ = write!(page, "<td>{}</td>", shown(quantiles, value));
    }
}

fn shown(quantiles: &Quantiles, value: f64) -> String {
    match quantiles.count {
        0 => "–".to_owned(),
        _ => number(value),
    }
}

/// All phases that wrote, a line each.
fn overview(topology: &TopologyResults, page: &mut String) {
    let mut rows = String::new();
    for phase in &topology.phases {
        let Some(load) = &phase.load else { continue };
        let rates: Vec<String> = load.writes_per_s.iter().map(|rate| number(*rate)).collect();
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td>",
            escaped(&phase.title),
            number(load.writes as f64),
            rates.join(" + ")
        );
        cells(&load.over_one_way_ms, &mut rows);
        let (p50, p99) = (load.answer_ms.p50, load.answer_ms.p99);
        let _ = write!(
            rows,
            "<td>{}</td><td>{}</td><td>{}</td></tr>",
            shown(&load.answer_ms, p50),
            shown(&load.answer_ms, p99),
            number(load.bytes_per_write_and_replica)
        );
    }
    if !rows.is_empty() {
        let _ = write!(
            page,
            "<div class=\"card scroll\"><h3>All phases that write</h3><table><tr><th>Phase</th><th>Writes</th>\
             <th>Writes/s, by datacenter</th><th>Lag over one-way,<br>p50 ms</th><th>p99</th><th>max</th>\
             <th>Answer,<br>p50 ms</th><th>p99</th><th>Bytes per write<br>and replica</th></tr>{rows}</table></div>"
        );
    }
}

fn bytes_bars(phases: &[Phase], page: &mut String) {
    const GOAL: f64 = 250.0;
    let of = |phase: &'_ Phase| {
        Some((
            phase.title.clone(),
            phase.load.as_ref()?.bytes_per_write_and_replica,
        ))
    };
    let some: Vec<_> = phases.iter().filter_map(of).collect();
    let most = some.iter().map(|(_, bytes)| *bytes).fold(GOAL, f64::max) * 1.05;
    if some.is_empty() {
        return;
    }
    page.push_str("<div class=\"card\"><h3>Bytes per write and replica</h3><p class=\"note\">Everything on the wire, by the writes of the phase; the mark is the goal under load, 250.</p>");
    for (title, bytes) in &some {
        let _ = write!(
            page,
            "<div class=\"bar\"><span>{}</span><span class=\"track\"><span class=\"fill\" style=\"width:{:.1}%\"></span>\
             <span class=\"mark\" style=\"left:{:.1}%\"></span></span><span class=\"value\">{}</span></div>",
            escaped(title),
            bytes / most * 100.0,
            GOAL / most * 100.0,
            number(*bytes)
        );
    }
    page.push_str("</div>");
}

fn one_phase(phase: &Phase, page: &mut String) {
    let _ = write!(
        page,
        "<div class=\"card\"><h3>{}</h3><p class=\"note\">{}</p>",
        escaped(&phase.title),
        escaped(&phase.note)
    );
    if let Some(load) = &phase.load {
        one_load(load, page);
    }
    if let Some(quiet) = &phase.quiet {
        let _ = write!(
            page,
            "<p>{} bytes in {} s over {} links: {} bytes per minute.</p>",
            number(quiet.bytes as f64),
            number(quiet.seconds),
            quiet.links,
            number(quiet.bytes_per_minute)
        );
    }
    if let Some(catch_up) = &phase.catch_up {
        one_catch_up(catch_up, page);
    }
    page.push_str("</div>");
}

fn one_load(load: &LoadResults, page: &mut String) {
    if load.refused > 0 {
        let why = load.refusal.as_deref().unwrap_or_default();
        let _ = write!(
            page,
            "<p><span class=\"badge missed\">{} refused</span> the first: {}</p>",
            load.refused,
            escaped(why)
        );
    }
    let nodes: Vec<String> = load.cpu.nodes.iter().map(|share| percent(*share)).collect();
    let wan = load
        .cpu
        .wan
        .map(|share| format!(", the WAN tool {}", percent(share)));
    let _ = write!(
        page,
        "<p class=\"muted\">Shares of one core: nodes {}; this harness {}, its busiest thread of clients {}{}; idle {}, taken away \
         by the machine below {}. A fixed piece of work took {} ms just before. Clients were late by {} ms (p99) to send what was due.</p>",
        nodes.join(", "),
        percent(load.cpu.harness),
        percent(load.cpu.clients_busiest),
        wan.unwrap_or_default(),
        percent(load.cpu.idle),
        percent(load.cpu.stolen),
        number(load.cpu.pace_ms),
        shown(&load.late_ms, load.late_ms.p99)
    );
    let open = if load.directions.len() <= DIRECTIONS_SHOWN {
        " open"
    } else {
        ""
    };
    let _ = write!(
        page,
        "<details{open}><summary>{} directions</summary><div class=\"scroll\"><table><tr><th>From, to</th>\
         <th>One-way<br>ms</th><th>Floor,<br>p50 ms</th><th>p99</th><th>Lag,<br>p50 ms</th><th>p99</th><th>max</th>\
         <th>p50 over<br>one-way</th><th>p99 over<br>one-way</th><th>Bytes</th></tr>",
        load.directions.len()
    );
    for direction in &load.directions {
        let (floor, lag) = (&direction.floor_ms, &direction.lag_ms);
        let _ = write!(
            page,
            "<tr><td>{} → {}</td><td>{}</td><td>{}</td><td>{}</td>",
            escaped(&direction.from),
            escaped(&direction.to),
            number(direction.one_way_ms),
            shown(floor, floor.p50),
            shown(floor, floor.p99)
        );
        cells(lag, page);
        let _ = write!(
            page,
            "<td>{}</td><td>{}</td><td>{}</td></tr>",
            shown(lag, lag.p50 - direction.one_way_ms),
            shown(lag, lag.p99 - direction.one_way_ms),
            number(direction.bytes as f64)
        );
    }
    page.push_str("</table></div></details>");
}

fn percent(share: f64) -> String {
    format!("{} %", number((share * 100.0).round()))
}

fn one_catch_up(catch_up: &CatchUp, page: &mut String) {
    let _ = write!(
        page,
        "<div class=\"scroll\"><table><tr><th>Datacenter</th><th>Documents</th><th>Round trip<br>ms</th><th>First<br>ms</th>\
         <th>Half<br>ms</th><th>All<br>ms</th><th>Bytes,<br>both ways</th><th>Bytes per<br>document</th></tr>\
         <tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr></table></div>",
        escaped(&catch_up.datacenter),
        number(catch_up.documents as f64),
        number(catch_up.round_trip_ms),
        number(catch_up.first_ms),
        number(catch_up.p50_ms),
        number(catch_up.last_ms),
        number(catch_up.bytes as f64),
        number(catch_up.bytes_per_document)
    );
    if let Some(up) = catch_up.links_up {
        let state = if up {
            "still took its link to it for up"
        } else {
            "had found its link to it down"
        };
        let _ = write!(
            page,
            "<p class=\"muted\">When the cut was healed, the first datacenter {state}.</p>"
        );
    }
    if let Some(foreground) = &catch_up.foreground {
        let _ = write!(
            page,
            "<div class=\"scroll\"><table><tr><th>Writes at the others</th><th>Count</th><th>p50 ms</th><th>p99</th><th>max</th></tr>"
        );
        for (name, answers) in [
            ("before", &foreground.before_ms),
            ("meanwhile", &foreground.meanwhile_ms),
        ] {
            let _ = write!(page, "<tr><td>{name}</td><td>{}</td>", answers.count);
            cells(answers, page);
            page.push_str("</tr>");
        }
        page.push_str("</table></div>");
    }
}

/// How far apart they are, and what QUIC made of it.
fn distances(topology: &TopologyResults, page: &mut String) {
    page.push_str("<div class=\"card\"><details><summary>Round trips in ms: as asked for, and as the nodes' links have measured them</summary><div class=\"scroll\"><table><tr><th></th>");
    for region in &topology.regions {
        let _ = write!(page, "<th>{}</th>", escaped(region));
    }
    page.push_str("</tr>");
    for (from, row) in topology.regions.iter().zip(&topology.round_trips_ms) {
        let _ = write!(page, "<tr><td>{}</td>", escaped(from));
        for (to, due) in topology.regions.iter().zip(row) {
            let link = topology
                .links
                .iter()
                .find(|link| link.from == *from && link.to == *to);
            let cell = match link {
                Some(link) => format!(
                    "{} <span class=\"muted\">({})</span>",
                    number(*due),
                    number(link.round_trip_ms)
                ),
                None => "·".to_owned(),
            };
            let _ = write!(page, "<td>{cell}</td>");
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div></details>");
    if !topology.complaints.is_empty() {
        let lines = topology.complaints.join("\n");
        let _ = write!(
            page,
            "<details><summary>What nodes complained of ({})</summary><pre>{}</pre></details>",
            topology.complaints.len(),
            escaped(&lines)
        );
    }
    page.push_str("</div>");
}

fn how(results: &Results, page: &mut String) {
    let machine = &results.machine;
    let _ = write!(
        page,
        "<h2>How this was made</h2><div class=\"card\"><p>Every datacenter is an <code>anabranch serve</code> process; between \
         them {}. Clients speak HTTP to their own datacenter and begin writes when they are due, whatever became of those \
         before. The lag of a write is the time from its call to the moment at which one reader of another datacenter's \
         event feed has read it; all on one machine, with one clock. Bytes are {}. Goals count the one-way delay as it \
         was asked for, not as it was measured.</p><p class=\"muted\">{} cores, {}, {}; load average before: {}.</p>\
         <pre>{}</pre></div>",
        escaped(results.network),
        escaped(results.bytes_are),
        machine.cores,
        escaped(&machine.processor),
        escaped(&machine.kernel),
        escaped(&machine.load_before),
        escaped(&results.command)
    );
}
