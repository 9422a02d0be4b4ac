//! docs/grafana-dashboard.json, without a Grafana: what it asks a Prometheus for is there, and the Prometheus answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::promql::{Asked, asked};
use super::support::kv::{self, QUICK};
use super::support::prometheus::{NodeExporter, Prometheus};
use super::support::sandbox::Sandbox;
use super::support::stay::{Stay, get, place};
use super::support::{server, wait_until};
use super::{documentation, named_in_rows, names_in, repository, rules};

/// How long a gap between two scrapes may be, one of which comes each second.
const GAP: Duration = Duration::from_secs(15);

/// What a panel asks for, and how the answer is labelled.
#[derive(Debug)]
struct Question {
    /// Who asks.
    whose: String,
    expression: String,
    legend: String,
}

/// A Prometheus, and what it scrapes from the real program.
struct World {
    name: &'static str,
    prometheus: Prometheus,
    /// The series that it has, by the name of the metric: their labels.
    series: BTreeMap<String, Vec<BTreeMap<String, String>>>,
    /// What the program itself serves.
    text: String,
}

fn dashboard() -> Value {
    let text = fs::read_to_string(repository("docs/grafana-dashboard.json")).expect("the dashboard");
    serde_json::from_str(&text).expect("JSON")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no list {key:?} in {value}"))
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key:?} in {value}"))
}

/// What the panels ask for.
fn questions(dashboard: &Value) -> Vec<Question> {
    let panels = list(dashboard, "panels").iter().filter(|panel| panel["type"] != "row");
    let questions = panels.flat_map(|panel| {
        list(panel, "targets").iter().map(|target| Question {
            whose: format!("{} {}", word(panel, "title"), word(target, "refId")),
            expression: word(target, "expr").to_owned(),
            legend: word(target, "legendFormat").to_owned(),
        })
    });
    questions.collect()
}

/// What the variables ask for: their names, the series, the label. It has to be the one that they are called after.
fn variables(dashboard: &Value) -> Vec<(String, String)> {
    let all = list(&dashboard["templating"], "list").iter();
    let asking = all.filter(|variable| variable["type"] == "query").map(|variable| {
        let (name, query) = (word(variable, "name"), word(&variable["query"], "query"));
        assert_eq!(word(variable, "definition"), query, "{name}");
        assert_eq!(
            (&variable["includeAll"], word(variable, "allValue")),
            (&Value::Bool(true), ".*"),
            "{name}"
        );
        let inside = query.strip_prefix("label_values(").and_then(|query| query.strip_suffix(')'));
        let (series, label) = inside.and_then(|inside| inside.rsplit_once(", ")).expect("label_values(…, …)");
        assert_eq!(label, name, "the label that {query:?} lists");
        (name.to_owned(), series.to_owned())
    });
    asking.collect()
}

/// An expression in which the variables have these values, and all others match everything.
fn filled(expression: &str, values: &[(&str, &str)]) -> String {
    let mut expression = expression.to_owned();
    for (name, value) in
        values.iter().copied().chain(["instance", "user", "profile"].map(|name| (name, ".*")))
    {
        expression = expression.replace(&format!("\"${name}\""), &format!("{value:?}"));
    }
    assert!(!expression.contains('$'), "a variable that nobody has set: {expression}");
    expression
}

/// As a query of a URL has it.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

impl World {
    fn of(name: &'static str, target: SocketAddr, text: String, awaited: &str) -> Self {
        let prometheus = Prometheus::start(target, &rules());
        // What rises is seen from the second scrape on.
        let scrapes = encoded(&format!("count_over_time({awaited}[1m])"));
        wait_until("it was scraped twice", || {
            prometheus.value(&scrapes).is_some_and(|scrapes| scrapes >= 2.0)
        });
        let mut world = Self { name, prometheus, series: BTreeMap::new(), text };
        let all = world.ask(&format!("series?match[]={}", encoded("{__name__!=\"\"}")));
        for one in all.as_array().expect("series") {
            let mut labels: BTreeMap<String, String> = serde_json::from_value(one.clone()).expect("labels");
            let metric = labels.remove("__name__").expect("a name");
            world.series.entry(metric).or_default().push(labels);
        }
        world
    }

    #[track_caller]
    fn ask(&self, path: &str) -> Value {
        let mut answer = self.prometheus.ask(path);
        assert_eq!(answer["status"], "success", "{}: {path}: {answer}", self.name);
        answer["data"].take()
    }

    /// The labels of the series that an expression returns.
    #[track_caller]
    fn result(&self, expression: &str) -> Vec<BTreeMap<String, String>> {
        let answer = self.ask(&format!("query?query={}", encoded(expression)));
        let series = list(&answer, "result").iter().map(|one| one["metric"].clone());
        series.map(|labels| serde_json::from_value(labels).expect("labels")).collect()
    }

    /// The same, awaited for a while if it has to be something: a scrape that is late on a busy machine leaves a gap.
    #[track_caller]
    fn awaited_result(
        &self,
        expression: &str,
        is_so: impl Fn(&[BTreeMap<String, String>]) -> bool,
    ) -> Vec<BTreeMap<String, String>> {
        let start = Instant::now();
        loop {
            let labels = self.result(expression);
            if is_so(&labels) || start.elapsed() > GAP {
                return labels;
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn has(&self, asked: &Asked) -> bool {
        asked.metrics.iter().all(|metric| self.series.contains_key(metric))
    }

    /// Checks that every label that is asked for is on every series, and that one of these has the value.
    #[track_caller]
    fn check_labels(&self, whose: &str, asked: &Asked) {
        for metric in &asked.metrics {
            let series = &self.series[metric];
            for label in &asked.grouped {
                assert!(
                    series.iter().all(|labels| labels.contains_key(label)),
                    "{whose}: {label} of {metric}"
                );
            }
            if !metric.starts_with("vault_token_") {
                continue;
            }
            for (label, operator, value) in &asked.matchers {
                assert!(
                    series.iter().all(|labels| labels.contains_key(label)),
                    "{whose}: {label} of {metric}"
                );
                if !value.starts_with('$') {
                    assert_eq!(operator, "=", "{whose}: only a variable needs more");
                    let is_there = series.iter().any(|labels| &labels[label] == value);
                    assert!(is_there, "{whose}: {metric} never has {label}={value:?}: {series:?}");
                }
            }
        }
    }
}

#[test]
fn the_dashboard_can_be_imported_anywhere() {
    let dashboard = dashboard();
    assert_eq!(word(&dashboard, "uid"), "vault-token-renew", "links to it would break");
    assert!(dashboard["schemaVersion"].as_u64() >= Some(41), "{}", dashboard["schemaVersion"]);
    let text = dashboard.to_string();
    for number in ["id", "gnetId", "iteration", "__inputs"] {
        assert!(!text.contains(&format!("{number:?}:")), "{number:?} belongs to one Grafana");
    }
    // Each question goes to the data source of whoever looks.
    let sources = text.matches("\"datasource\":").count();
    assert_eq!(sources, text.matches(r#""datasource":{"type":"prometheus","uid":"${datasource}"}"#).count());
    let panels = list(&dashboard, "panels");
    assert!(
        panels.iter().filter(|panel| panel["type"] != "row").all(|panel| panel["datasource"].is_object())
    );
    let variables = list(&dashboard["templating"], "list");
    assert_eq!((word(&variables[0], "type"), word(&variables[0], "name")), ("datasource", "datasource"));
    assert!(word(&variables[0], "query") == "prometheus" && variables[0]["current"] == serde_json::json!({}));
    let names: Vec<_> = variables[1..].iter().map(|variable| word(variable, "name")).collect();
    assert_eq!(names, ["instance", "user", "profile"]);

    // No panel covers another one, or leaves the page; each has a name of its own and says what it shows.
    let (mut taken, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = word(panel, "title");
        assert!(titles.insert(title), "{title:?} is there twice");
        assert!(
            panel["type"] == "row" || word(panel, "description").ends_with('.'),
            "{title:?} says nothing"
        );
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a place"));
        assert!(x + w <= 24, "{title:?} leaves the page");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title:?} covers another one at {cell:?}");
        }
    }
}

#[test]
fn the_dashboard_shows_every_metric_of_the_documentation_and_no_other() {
    let dashboard = dashboard();
    let shown: BTreeSet<String> =
        questions(&dashboard).iter().flat_map(|question| asked(&question.expression).metrics).collect();
    let shown: BTreeSet<&str> =
        shown.iter().map(String::as_str).filter(|name| name.starts_with("vault_token_")).collect();
    let documentation = documentation();
    let mut known = named_in_rows(&documentation);
    // The expiry says the same, and runs down.
    assert!(known.remove("vault_token_ttl_seconds"), "it is documented");
    assert_eq!(shown, known);
}

#[test]
fn every_expression_of_the_dashboard_returns_data_from_a_timer_from_a_watch_and_from_a_follow() {
    let server = server();
    // A timer: a run has written its file, and a node_exporter reads it.
    let home = Sandbox::holding(&server.admin_login().token);
    home.run(&server, &["--metrics-file", "~/vault.prom"]).expect(0);
    let folder = TempDir::with_prefix("vtr-dashboard-").expect("a directory");
    let text = fs::read_to_string(home.path().join("vault.prom")).expect("the metrics file");
    fs::write(folder.path().join("vault-token-renew.prom"), &text).expect("a copy");
    let exporter = NodeExporter::start(folder.path().to_str().expect("UTF-8"));
    let log = exporter.log();
    let listens = log.split_once("msg=\"Listening on\" address=").expect("where it listens").1;
    let target = listens.split_whitespace().next().and_then(|place| place.parse().ok()).expect("an address");
    let timer = World::of("timer", target, text, "vault_token_foreign");

    // A watch, which renews what the run has minted.
    let stay = Stay::start(&home, &server, &[], &["--listen", "127.0.0.1:0"]);
    stay.wait_for("OK renewed", 1);
    let text = get(place(&stay), "/metrics").body;
    let watch = World::of("watch", place(&stay), text, "vault_token_foreign");

    // A follow, which has fetched a value.
    let store = kv::World::new();
    store.put("a-value-to-be-shown-0123456789");
    let following = store.start(&[], &[&QUICK[..], &["--listen", "127.0.0.1:0"]].concat());
    following.wait_for("Token fetched", 1);
    let text = get(place(&following), "/metrics").body;
    let follow = World::of("follow", place(&following), text, "vault_token_age_seconds");

    let dashboard = dashboard();
    let worlds = [&timer, &watch, &follow];
    for question in questions(&dashboard) {
        let Question { whose, expression, legend } = &question;
        let asked = asked(expression);
        let mut answered = 0;
        for world in worlds {
            let whose = &format!("{}: {whose}", world.name);
            // Data where all of its metrics are, and nothing invented where they are not.
            let is_due = world.has(&asked);
            let labels = world.awaited_result(&filled(expression, &[]), |labels| is_due != labels.is_empty());
            assert_eq!(!labels.is_empty(), is_due, "{whose}: {expression}: {labels:?}");
            if labels.is_empty() {
                continue;
            }
            answered += 1;
            world.check_labels(whose, &asked);
            for label in legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap_or_default()) {
                assert!(
                    labels.iter().all(|labels| labels.contains_key(label)),
                    "{whose}: no {label}: {labels:?}"
                );
            }
            // Nobody sees more than what is chosen at the top.
            let ours = asked.metrics.iter().any(|metric| metric.starts_with("vault_token_"));
            for (variable, nobody) in [("instance", "nowhere:1"), ("user", "nobody"), ("profile", "none")] {
                let is_used = expression.contains(&format!("{variable}=~\"${variable}\""));
                assert!(is_used || !(ours || variable == "instance"), "{whose} shows more than is asked for");
                let rest = world.result(&filled(expression, &[(variable, nobody)]));
                assert!(!is_used || rest.is_empty(), "{whose}: {variable} is not asked for: {rest:?}");
            }
            // The values as Grafana puts them in: with what a regular expression would read otherwise escaped.
            let instance = &world.series["up"][0]["instance"];
            let instance = format!("({}|elsewhere)", instance.replace('.', r"\."));
            let values = [("instance", instance.as_str()), ("user", "wizard"), ("profile", "default")];
            let chosen = world.awaited_result(&filled(expression, &values), |chosen| chosen == labels);
            assert_eq!(chosen, labels, "{whose}");
        }
        assert!(answered > 0, "{whose} has data nowhere: {expression}");
    }

    for (label, series) in variables(&dashboard) {
        for world in worlds {
            let matching = encoded(&filled(&series, &[]));
            let values = world.ask(&format!("label/{label}/values?match[]={matching}"));
            let expected = match label.as_str() {
                "user" => "wizard",
                "profile" => "default",
                _ => &world.series["up"][0]["instance"],
            };
            assert_eq!(values, serde_json::json!([expected]), "{}: {label}", world.name);
        }
    }

    // The rules of the documentation know no other labels; and what the worlds have is what the program wrote.
    for expression in rules().lines().filter_map(|line| line.trim().strip_prefix("expr: ")) {
        if expression != "|" {
            watch.check_labels(expression, &asked(expression));
        }
    }
    for world in worlds {
        let scraped: BTreeSet<_> =
            world.series.keys().map(String::as_str).filter(|name| name.starts_with("vault_token_")).collect();
        assert_eq!(scraped, names_in_series(&world.text), "{}", world.name);
    }
    stay.stop();
    following.stop();
}

/// The names of the metrics of a page.
fn names_in_series(text: &str) -> BTreeSet<&str> {
    text.lines().filter(|line| !line.starts_with('#')).flat_map(names_in).collect()
}
