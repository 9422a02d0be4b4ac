//! What a monitor sees, judged by the real tools: the metrics by promtool and a real node_exporter, the alert rules of
//! docs/monitoring.md by promtool, which plays their days and weeks in seconds, and the dashboard by a real Prometheus.
//! What docs/monitoring.md tells people to copy is taken from there and run.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests write and move files as they like")]

#[path = "monitoring/blocks.rs"]
mod blocks;
#[path = "monitoring/dashboard.rs"]
mod dashboard;
#[path = "monitoring/log.rs"]
mod log;
#[path = "monitoring/promql.rs"]
mod promql;
#[path = "monitoring/told.rs"]
mod told;

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use support::kv;
use support::prometheus::{
    GATHERING_ERRORS, NodeExporter, Prometheus, SCRAPE_ERROR, assert_collected, lint, promtool, series,
};
use support::sandbox::Sandbox;
use support::stay::{Stay, get, place};
use support::user_manager::text;
use support::{server, wait_until};
use tempfile::TempDir;

/// Only a process that stays knows it, and serves it.
const NEXT_RUN: &str = "vault_token_next_run_timestamp_seconds";

/// What the real program writes about a heal.
static SAMPLE: LazyLock<String> = LazyLock::new(|| {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    home.run(&server, &["--metrics-file", "~/vault.prom"]).expect(0);
    fs::read_to_string(home.path().join("vault.prom")).expect("the metrics file")
});

/// The sample of another profile of another user.
fn sample_of(profile: &str, user: &str) -> String {
    SAMPLE.replace("\"default\"", &format!("{profile:?}")).replace("\"wizard\"", &format!("{user:?}"))
}

/// The sample with another value for this series.
fn with_value(metric: &str, value: &str) -> String {
    let line = SAMPLE.lines().find(|line| line.starts_with(&format!("{metric}{{"))).expect("the metric");
    let (series, _) = line.rsplit_once(' ').expect("a value");
    SAMPLE.replace(line, &format!("{series} {value}"))
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn documentation() -> String {
    fs::read_to_string(repository("docs/monitoring.md")).expect("docs/monitoring.md")
}

/// The alert rules for Prometheus.
fn rules() -> String {
    blocks::block("yaml", "- name: vault-token-renew\n")
}

/// A directory with the rules, and the tests of them beside.
fn rules_and_their_tests() -> TempDir {
    let directory = TempDir::with_prefix("vtr-rules-").expect("a directory");
    fs::write(directory.path().join("rules.yml"), rules()).expect("the rules");
    for name in ["alerts_test.yml", "week_test.yml"] {
        fs::copy(repository("tests/monitoring").join(name), directory.path().join(name)).expect(name);
    }
    directory
}

/// The names of our metrics in a text.
fn names_in(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("vault_token_"))
        .collect()
}

/// The metrics that the rows of a table are about.
fn named_in_rows(text: &str) -> BTreeSet<&str> {
    let rows = text.lines().filter(|line| line.starts_with("| `vault_token_"));
    rows.filter_map(|line| line.split('`').nth(1)).collect()
}

/// How many of the series are ours.
fn ours(served: &BTreeMap<String, f64>) -> usize {
    served.keys().filter(|name| name.starts_with("vault_token_")).count()
}

#[test]
fn promtool_has_nothing_against_the_rules_of_the_documentation() {
    let directory = rules_and_their_tests();
    let checked = promtool(directory.path(), &["check", "rules", "--lint=all", "--lint-fatal", "rules.yml"]);
    assert!(checked.status.success(), "{}", text(&checked));
    assert!(text(&checked).contains("SUCCESS: 6 rules found"), "{}", text(&checked));
}

#[test]
fn each_alert_fires_when_it_should_and_for_whom_it_should_and_not_a_minute_before() {
    let directory = rules_and_their_tests();
    let tested = promtool(directory.path(), &["test", "rules", "alerts_test.yml", "week_test.yml"]);
    assert!(tested.status.success(), "{}", text(&tested));

    // An alert that nobody tests cannot fail.
    let tests = fs::read_to_string(directory.path().join("alerts_test.yml")).expect("the tests");
    for alert in rules().lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let named: Vec<_> =
            tests.split("alertname: ").skip(1).filter(|rest| rest.starts_with(alert)).collect();
        let silent =
            named.iter().filter(|rest| rest[alert.len()..].starts_with("\n        exp_alerts: []\n"));
        let silent = silent.count();
        assert!(
            silent > 0 && silent < named.len(),
            "{alert} does not both fire and keep silent in the tests"
        );
    }
}

#[test]
fn the_documentation_knows_every_metric_and_no_other() {
    let documentation = documentation();
    let (_, table) = documentation.split_once("\n## The metrics\n").expect("the heading");
    let (of_runs, of_follow) = table.split_once("has metrics of its own").expect("those of follow");
    let [of_runs, of_follow] = [of_runs, of_follow].map(named_in_rows);
    let known: BTreeSet<_> = names_in(&SAMPLE).into_iter().chain([NEXT_RUN]).collect();
    assert_eq!(of_runs, known, "the table");
    let store = kv::World::new();
    let stay = store.start(&[], &["--listen", "127.0.0.1:0"]);
    let page = get(place(&stay), "/metrics").body;
    assert_eq!(of_follow, names_in(&page), "the table of follow");
    let unknown: Vec<_> = names_in(&documentation)
        .into_iter()
        .filter(|name| !known.contains(name) && !of_follow.contains(name))
        .collect();
    assert!(unknown.is_empty(), "in the text or the rules, but no metrics: {unknown:?}");
}

#[test]
fn node_exporter_serves_every_series() {
    assert_collected(&[&SAMPLE]);
    assert_collected(&[&with_value("vault_token_expiry_timestamp_seconds", "+Inf")]);
    assert_collected(&[&with_value("vault_token_ttl_seconds", "0")]);
}

#[test]
fn node_exporter_serves_several_users_and_profiles_side_by_side() {
    assert_collected(&[
        &SAMPLE,
        &sample_of("work", "wizard"),
        &sample_of("default", "emo"),
        // As a user and a configuration file may be called, too.
        &sample_of("a b.c", "emo.m\u{fc}ller-1"),
    ]);
}

#[test]
fn promtool_complains_where_there_is_reason_to() {
    let helpless: String =
        SAMPLE.lines().filter(|line| !line.contains("HELP")).collect::<Vec<_>>().join("\n");
    for (spoilt, complaint) in [
        (format!("{helpless}\n"), "no help text"),
        (SAMPLE.replace("vault_token_swept_total", "vault_token_swept"), "\"_total\" suffix"),
        (with_value("vault_token_ttl_seconds", "forever"), "expected float"),
        (SAMPLE.trim_end().to_owned(), "unexpected end of input"),
    ] {
        let said = lint(&spoilt);
        assert!(said.contains(complaint), "{complaint:?} is not in {said:?}");
    }
}

/// What docs/monitoring.md says about files that do not get along, which is why each has its own user and profile.
#[test]
fn node_exporter_drops_one_of_two_equal_series_and_says_so_nowhere_but_in_one_counter() {
    let directory = TempDir::with_prefix("vtr-twice-").expect("a directory");
    let file = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect(name);
    file("a.prom", &SAMPLE);
    file("b.prom", &with_value("vault_token_swept_total", "3"));
    let exporter = NodeExporter::start(directory.path().to_str().expect("UTF-8"));
    exporter.scrape();
    let served = series(&exporter.scrape());
    assert_eq!(ours(&served), series(&SAMPLE).len());
    assert!(served[SCRAPE_ERROR] < 1.0, "{}", exporter.log());
    assert!(served[GATHERING_ERRORS] > 0.0, "{}", exporter.log());
    assert!(exporter.log().contains("was collected before with the same name and label values"));

    // Two versions of the program with other words for the same metric do not get along either.
    let words = "# HELP vault_token_foreign ";
    file("b.prom", &sample_of("default", "emo").replace(words, &format!("{words}In other words: ")));
    let served = series(&exporter.scrape());
    let foreign = served.keys().filter(|name| name.starts_with("vault_token_foreign{")).count();
    assert!(foreign == 1 && served[SCRAPE_ERROR] < 1.0, "{}", exporter.log());

    // One that cannot be read takes nothing away from the others; a link is followed.
    file("b.prom", "vault_token_foreign{");
    let served = series(&exporter.scrape());
    assert!(served[SCRAPE_ERROR] > 0.0, "{}", exporter.log());
    assert_eq!(ours(&served), series(&SAMPLE).len());
    fs::remove_file(directory.path().join("b.prom")).expect("b.prom");
    file("elsewhere", &sample_of("default", "emo"));
    symlink(directory.path().join("elsewhere"), directory.path().join("b.prom")).expect("a link");
    let served = series(&exporter.scrape());
    assert!(served[SCRAPE_ERROR] < 1.0, "{}", exporter.log());
    assert_eq!(ours(&served), 2 * series(&SAMPLE).len());
}

/// Callers who begin a request and never end it.
fn half_requests(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let one = |_| {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.write_all(b"GET /metrics HT").expect("half a request");
        stream
    };
    (0..count).map(one).collect()
}

#[test]
fn a_real_prometheus_scrapes_a_watch_and_its_alerts_see_a_weak_login() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    let stay = Stay::start(&home, &server, &[], &["--listen", "127.0.0.1:0"]);
    let address = place(&stay);
    stay.wait_for("HEALED: ", 1);
    let rules = rules();
    let prometheus = Prometheus::start(address, &rules);
    wait_until("it was scraped", || {
        prometheus.value("vault_token_heals_total{result=\"healed\"}") == Some(1.0)
    });
    assert_eq!(prometheus.value("up"), Some(1.0), "{}", prometheus.log());
    let next = prometheus.value(&format!("{NEXT_RUN}-time()")).expect("the next run");
    assert!(next > 3_600.0, "{next}");
    for rule in
        rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).filter(|rule| *rule != "|")
    {
        let rule = rule.replace(' ', "%20").replace('+', "%2B");
        assert_eq!(prometheus.ask(&format!("query?query={rule}"))["status"], "success", "{rule}");
    }

    // Whoever keeps the door busy keeps nobody out: each second's scrape is answered in that second.
    let held: Vec<_> = (0..4)
        .flat_map(|_| {
            let held = half_requests(address, 50);
            std::thread::sleep(std::time::Duration::from_millis(1_100));
            held
        })
        .collect();
    assert_eq!(prometheus.value("min_over_time(up[5s])"), Some(1.0), "{}", prometheus.log());
    let slowest = prometheus.value("max_over_time(scrape_duration_seconds[5s])");
    assert!(slowest.is_some_and(|slowest| slowest < 0.5), "{slowest:?}");
    drop(held);

    home.put(&server.weak_login().token);
    stay.wait_for("DRIFT: ", 1);
    wait_until("the alert is pending", || {
        let alerts = prometheus.ask("alerts");
        let alerts = alerts["data"]["alerts"].as_array().expect("alerts").clone();
        alerts.iter().any(|alert| {
            alert["labels"]["alertname"] == "VaultTokenForeign" && alert["labels"]["user"] == "wizard"
        })
    });
    stay.stop();
    wait_until("it is seen to be down", || prometheus.value("up") == Some(0.0));
}
