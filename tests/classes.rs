//! Classes of clients: who waits for whom, and who is told that waiting is in vain.

use std::time::{Duration, Instant};

use super::support::events::line;
use super::support::*;

/// A pool of so many servers, and classes.
fn stage(servers: usize, classes: &str) -> Stage {
    Stage::new(&Setup::servers(servers).tables(classes))
}

fn named(stage: &Stage, application_name: &str) -> Raw {
    stage.weir.target().connect_with(&[("application_name", application_name)])
}

fn waiting(stage: &Stage) -> u64 {
    stage.weir.count("pgweir_clients_waiting", "")
}

#[test]
fn one_more_than_the_queue_takes_is_refused_at_once_and_told_why() {
    let batch = "[[classes]]\nname = \"batch\"\napplication_name = \"batch-*\"\nqueue_limit = 1\n";
    let stage = stage(1, batch);
    let mut holder = stage.client();
    holder.rows("begin");
    let mut first = named(&stage, "batch-1");
    first.send(&query("select 1"));
    wait_until("one waits", || waiting(&stage) == 1);
    let mut second = named(&stage, "batch-2");
    let started = Instant::now();
    second.send(&query("select 1"));
    let refusal = second.event();
    assert!(started.elapsed() < Duration::from_secs(10), "it did not wait for its time to be over");
    assert_eq!((refusal.field('S'), refusal.field('C')), ("ERROR".into(), "53300".into()));
    let detail = refusal.field('D');
    for part in ["Class: \"batch\"", "clients waiting: 1", "expected wait: "] {
        assert!(detail.contains(part), "{detail}");
    }
    assert!(second.event().is('Z'));
    let refused = "reason=\"queue_full\"";
    assert_eq!(stage.weir.count("pgweir_checkout_refusals_total", refused), 1);
    let of_class = |name, labels: &str| stage.weir.count(&format!("pgweir_class_{name}"), labels);
    assert_eq!(of_class("checkout_refusals_total", "class=\"batch\",reason=\"queue_full\""), 1);
    assert_eq!(of_class("servers_leased", "class=\"default\""), 1);
    assert_eq!(of_class("servers_leased", "class=\"batch\""), 0);
    assert_eq!(of_class("clients_waiting", "class=\"batch\""), 1);
    // Who is of another class waits.
    let mut other = named(&stage, "web");
    other.send(&query("select 2"));
    wait_until("another waits", || waiting(&stage) == 2);
    holder.rows("commit");
    assert_eq!(first.ready(1).len(), 4);
    assert_eq!(other.ready(1).len(), 4);
    assert_eq!(second.value("select 3"), "3", "it may try again");
    assert_eq!(of_class("checkout_wait_seconds_count", "class=\"batch\""), 1);
    assert_eq!(of_class("clients_waiting", ""), 0);
}

#[test]
fn who_would_wait_in_vain_is_told_so_though_no_server_comes_back() {
    let class =
        "[[classes]]\nname = \"default\"\nqueue_target = \"100ms\"\nqueue_timeout = \"2min\"\n";
    let stage = stage(1, class);
    let mut holder = stage.client();
    holder.rows("begin");
    let mut crowd: Vec<_> = (0..60).map(|_| stage.client()).collect();
    for client in &mut crowd {
        client.send(&query("select 1"));
    }
    let late = || stage.weir.count("pgweir_checkout_refusals_total", "reason=\"late\"");
    wait_until("some are refused", || late() > 0);
    holder.rows("commit");
    let answers: Vec<_> = crowd.iter_mut().map(|client| line(&client.ready(1))).collect();
    let served = answers.iter().filter(|seen| *seen == "T D(1) C[SELECT 1] Z[I]").count();
    let refused = answers.iter().filter(|seen| *seen == "E[ERROR 53300] Z[I]").count();
    assert_eq!(served + refused, 60, "{answers:?}");
    assert!(served > 0 && refused as u64 == late(), "{served} served");
}

#[test]
fn a_class_has_no_more_servers_than_it_may_and_the_others_go_on() {
    let capped = "[[classes]]\nname = \"reports\"\nuser = \"app\"\noption = \"reports\"\n\
                  max_servers = 1\nqueue_timeout = \"1s\"\n";
    let stage = stage(3, capped);
    let report = || {
        stage.weir.target().connect_with(&[("options", "-c pgweir.class=reports -c work_mem=5MB")])
    };
    let (mut first, mut second, mut other) = (report(), report(), stage.client());
    assert_eq!(first.value("show work_mem"), "5MB");
    assert_eq!(first.ask(&query("show pgweir.class")), "E[ERROR 42704] Z[I]", "it stays in pgweir");
    first.rows("begin");
    second.send(&query("select 1"));
    wait_until("one waits", || waiting(&stage) == 1);
    other.rows("begin; select 1");
    let refusal = second.event();
    assert_eq!(refusal.field('C'), "53300");
    let text = refusal.field('M');
    assert!(text.contains("\"reports\"") && text.contains("one of the 1 servers"), "{text}");
    assert!(second.event().is('Z'));
    first.rows("commit");
    assert_eq!(second.value("select 1"), "1");
}

#[test]
fn what_is_kept_for_a_class_is_there_when_it_comes() {
    let kept =
        "[[classes]]\nname = \"checkout\"\napplication_name = \"checkout\"\nguaranteed = 1\n";
    let stage = stage(2, kept);
    let (mut first, mut second) = (named(&stage, "web"), named(&stage, "web"));
    first.rows("begin");
    second.send(&query("begin"));
    wait_until("one waits", || waiting(&stage) == 1);
    let mut dear = named(&stage, "checkout");
    dear.rows("begin; commit");
    dear.rows("begin; commit");
    assert_eq!(waiting(&stage), 1, "the server of the class is idle, and kept");
    first.rows("commit");
    second.ready(1);
}

/// A class whose one client asks again at once has its server kept for it in between, and others have it when the client is
/// done.
#[test]
fn what_a_class_gives_back_is_kept_for_a_moment_and_no_longer() {
    let small = "[[classes]]\nname = \"small\"\napplication_name = \"small\"\n";
    let stage = stage(2, small);
    let over = std::sync::atomic::AtomicBool::new(false);
    let is_over = || over.load(std::sync::atomic::Ordering::Relaxed);
    let work = query("select pg_sleep(0.02)");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let mut greedy = stage.client();
            let work = &work;
            scope.spawn(move || {
                while !is_over() {
                    greedy.ask(work);
                }
            });
        }
        let waits = |class: &str| {
            let name = "pgweir_class_checkout_wait_seconds_count";
            stage.weir.count(name, &format!("class=\"{class}\""))
        };
        let mut client = named(&stage, "small");
        // On a busy machine it may be away for longer, so that it has to wait.
        wait_until("the client has its server each time", || {
            let before = waits("small");
            (0..20).for_each(|_| _ = client.ask(&work));
            waits("small") - before <= 5
        });
        let before = waits("default");
        wait_until("both servers are the others'", || {
            let leased = stage.weir.count("pgweir_class_servers_leased", "class=\"default\"");
            leased == 2 && waits("default") > before + 20
        });
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_transaction_that_begins_lazily_holds_no_server_until_it_does_something() {
    let lazy = "[[classes]]\nname = \"lazy\"\napplication_name = \"lazy\"\nlazy_begin = true\n";
    let stage =
        Stage::new(&Setup::servers(1).tables(lazy).timeouts("idle_in_transaction = \"1s\""));
    let (mut first, mut second) = (named(&stage, "lazy"), named(&stage, "lazy"));
    assert_eq!(first.ask(&query("begin")), "C[BEGIN] Z[T]");
    assert_eq!(second.ask(&query("begin")), "C[BEGIN] Z[T]");
    let state = "select count(*) from pg_stat_activity where state = 'idle in transaction' and \
                 datname = current_database()";
    assert_eq!(stage.database.admin().value(state), "0");
    assert_eq!(first.value("select now() = now() and pg_current_xact_id() is not null"), "t");
    assert_eq!(stage.database.admin().value(state), "1");
    second.send(&query("select 1"));
    wait_until("the second waits for the first", || waiting(&stage) == 1);
    assert_eq!(first.ask(&query("commit")), "C[COMMIT] Z[I]");
    assert_eq!(second.ready(1).len(), 4);
    assert_eq!(second.ask(&query("rollback")), "C[ROLLBACK] Z[I]");
    // By the extended protocol, too.
    assert_eq!(second.ask(&[extended("begin"), sync()].concat()), "1 2 C[BEGIN] Z[T]");
    assert_eq!(stage.database.admin().value(state), "0");
    assert_eq!(second.ask(&[extended("commit"), sync()].concat()), "1 2 C[COMMIT] Z[I]");
    // One that only begins is told as one that holds a server is.
    assert_eq!(second.ask(&query("begin")), "C[BEGIN] Z[T]");
    assert_eq!(second.event().field('C'), "25P03");
    // Others take their server at once.
    let mut eager = stage.client();
    eager.rows("begin");
    assert_eq!(stage.database.admin().value(state), "1");
}

#[test]
fn by_the_network_of_the_client() {
    let near = "[[classes]]\nname = \"near\"\nsource = \"127.0.0.0/8\"\nqueue_limit = 1\n";
    let stage = stage(1, near);
    let mut holder = stage.client();
    holder.rows("begin");
    let (mut first, mut second) = (stage.client(), stage.client());
    first.send(&query("select 1"));
    wait_until("one waits", || waiting(&stage) == 1);
    assert_eq!(second.ask(&query("select 1")), "E[ERROR 53300] Z[I]");
}

#[test]
fn under_overload_those_who_wait_in_vain_are_told_early_and_no_server_is_wasted() {
    const CLIENTS: usize = 60;
    let classes = "[[classes]]\nname = \"all\"\nqueue_timeout = \"2s\"\nqueue_target = \"200ms\"\n";
    let stage = stage(1, classes);
    stage.client().rows("select 1");
    let target = stage.weir.target();
    let started = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let target = target.clone();
            std::thread::spawn(move || {
                let mut client = target.connect();
                let started = Instant::now();
                (client.ask(&query("select pg_sleep(0.1)")), started.elapsed())
            })
        })
        .collect();
    let outcomes: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let took = started.elapsed();
    let (served, refused): (Vec<_>, Vec<_>) =
        outcomes.iter().partition(|(seen, _)| seen == "T D() C[SELECT 1] Z[I]");
    assert!(refused.iter().all(|(seen, _)| seen == "E[ERROR 53300] Z[I]"), "{refused:?}");
    assert!(!refused.is_empty() && served.len() >= 10, "{} served", served.len());
    // Nobody waited longer than he may, and the server was never idle meanwhile.
    let busy = Duration::from_millis(100) * u32::try_from(served.len()).unwrap();
    assert!(took < busy + Duration::from_secs(3), "{took:?} for {busy:?} of work");
    let late = stage.weir.count("pgweir_checkout_refusals_total", "reason=\"late\"");
    assert!(late >= 10, "{late} were told early");
    let early = refused.iter().filter(|(_, waited)| *waited < Duration::from_millis(1900)).count();
    assert!(early >= 10, "{early} of {}", refused.len());
}

#[test]
fn a_reload_changes_classes_and_a_bad_one_changes_nothing() {
    let all = "[[classes]]\nname = \"all\"\nmax_servers = 1\n";
    let stage = stage(2, all);
    let (mut first, mut second) = (stage.client(), stage.client());
    first.rows("begin");
    second.send(&query("select 1"));
    wait_until("one waits", || waiting(&stage) == 1);
    stage.weir.reload(|old| old.replace("name = \"all\"\n", "name = \"all\"\nguaranteed = 2\n"));
    wait_until("the fault is told", || stage.weir.log().contains("classes[0].guaranteed"));
    assert!(stage.weir.log().contains("at most its max_servers, 1"), "{}", stage.weir.log());
    assert_eq!(waiting(&stage), 1);
    stage.weir.reload(|old| old.replace("guaranteed = 2", "").replace("max_servers = 1\n", ""));
    // It may have the second server now, that is opened for it.
    assert_eq!(second.ready(1).len(), 4);
}

#[test]
fn one_who_waits_for_long_is_told_once_what_for_and_who_is_ahead() {
    let batch = "[[classes]]\nname = \"batch\"\napplication_name = \"batch\"\nmax_servers = 1\n";
    let setup = Setup::servers(2).timeouts("wait_notice = \"300ms\"").tables(batch);
    let stage = Stage::new(&setup);
    let mut holder = named(&stage, "batch");
    holder.rows("begin");
    let (mut first, mut second) = (named(&stage, "batch"), named(&stage, "batch"));
    first.send(&query("select 1"));
    wait_until("one waits", || waiting(&stage) == 1);
    second.send(&query("select 2"));
    for (client, ahead) in [(&mut first, "clients ahead: 0"), (&mut second, "clients ahead: 1")] {
        let notice = client.event();
        assert!(notice.is('N'), "{notice:?}");
        assert_eq!((notice.field('S'), notice.field('C')), ("NOTICE".into(), "00000".into()));
        assert!(notice.field('M').contains("all 1 servers that the class may have"), "{notice:?}");
        let detail = notice.field('D');
        assert!(detail.contains("\"batch\"") && detail.contains(ahead), "{detail}");
    }
    assert!(first.within(Duration::from_millis(700)).is_empty(), "it is told once");
    // Of the pool, in another class.
    let mut other = stage.client();
    other.rows("begin");
    let mut third = stage.client();
    third.send(&query("select 3"));
    let notice = third.event();
    assert!(notice.field('M').contains("all 2 servers are taken"), "{notice:?}");
    other.rows("commit");
    holder.rows("commit");
    for client in [&mut first, &mut second, &mut third] {
        assert_eq!(client.ready(1).len(), 4);
    }
}

#[test]
fn one_who_waits_for_long_is_told_what_is_really_in_the_way() {
    type Trouble = fn(&Stage, &Middleman);
    let vip = "[[classes]]\nname = \"vip\"\napplication_name = \"vip\"\nguaranteed = 1\n";
    let soon = "wait_notice = \"300ms\"\ncheckout = \"1s\"\nserver_connect = \"10s\"";
    let nothing: Trouble = |_, _| ();
    let causes: [(Setup, Trouble, &str, &str); 4] = [
        (
            Setup::servers(2).tables(vip),
            nothing,
            "what is left of 2 servers is kept for other classes",
            "one of 2 servers, of which others are kept for other classes",
        ),
        (
            Setup::servers(2).limits("max_servers_user = 1"),
            nothing,
            "all 1 connections of the user are in use",
            "a server (all 1 connections of the user are in use)",
        ),
        (
            Setup::servers(2),
            |_, middleman| middleman.set(Fault::Silence),
            "connections to the database server are being opened",
            "a server, which was being opened",
        ),
        (
            Setup::servers(2),
            |stage, _| {
                let name = stage.database.name();
                let mut admin = stage.database.cluster().admin("postgres");
                admin.rows(&format!("alter database {name} allow_connections false"));
            },
            "the database server refuses more than it has",
            "one of the servers that it has, since PostgreSQL refuses more",
        ),
    ];
    for (setup, trouble, notice, error) in causes {
        let cluster = Cluster::shared();
        let middleman = Middleman::before(&cluster);
        let setup = setup.behind(&middleman).timeouts(soon);
        let stage = Stage::on(cluster.database(), &setup);
        let mut holder = stage.client();
        holder.rows("begin");
        trouble(&stage, &middleman);
        let mut other = stage.client();
        other.send(&query("select 1"));
        let seen = other.ready(1);
        assert!(seen[0].is('N') && seen[0].field('M').ends_with(notice), "{seen:?}");
        assert!(seen[1].is('E') && seen[1].field('M').contains(error), "{seen:?}");
    }
}

#[test]
fn the_reserve_helps_those_who_have_waited_long_and_goes_again() {
    let setup = Setup::servers(1).limits("reserve = 1").timeouts("reserve = \"300ms\"");
    let stage = Stage::new(&setup);
    let mut holder = stage.client();
    holder.rows("begin");
    let (mut first, mut second) = (stage.client(), stage.client());
    let started = Instant::now();
    first.send(&query("begin"));
    assert_eq!(first.ready(1).len(), 2);
    assert!(started.elapsed() >= Duration::from_millis(300));
    second.send(&query("select 2"));
    wait_until("one waits", || waiting(&stage) == 1);
    first.rows("commit");
    assert_eq!(second.ready(1).len(), 4, "it works on while somebody waits");
    holder.rows("commit");
    wait_until("it has gone", || stage.weir.count("pgweir_servers", "") == 1);
}

#[test]
fn a_cold_pool_welcomes_all_by_its_first_server_however_short_the_queue() {
    let cluster = Cluster::shared();
    let middleman = Middleman::before(&cluster);
    middleman.set(Fault::Silence);
    let short = "[[classes]]\nname = \"all\"\nqueue_limit = 2\n";
    let setup = Setup::servers(5).tables(short).timeouts("server_connect = \"1s\"");
    let stage = Stage::on(cluster.database(), &setup.behind(&middleman));
    let target = stage.weir.target();
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let target = target.clone();
            std::thread::spawn(move || target.connect())
        })
        .collect();
    wait_until("all wait", || waiting(&stage) == 20);
    middleman.set(Fault::None);
    let mut clients: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert_eq!(stage.weir.count("pgweir_servers_opened_total", ""), 1);
    assert_eq!(clients[0].value("select 1"), "1");
    assert_eq!(stage.weir.count("pgweir_checkout_refusals_total", ""), 0);
}
