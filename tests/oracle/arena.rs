//! Where programs run: a cluster without passwords, and for each worker two databases of the same
//! content, one of which is reached through a pooler.

use std::sync::Arc;

use pgweir::demo::postgres::Options;

use super::compare::{Verdict, compare};
use super::pooler::{Kind, Pooler};
use super::program::Program;
use super::run::{Side, run};
use super::seen::Record;
use crate::support::{Cluster, Database, Raw, major, wait_until};

/// A cluster made for programs.
pub fn cluster() -> Arc<Cluster> {
    let settings = [
        ("wal_level", "replica"),
        ("max_wal_senders", "8"),
        ("max_replication_slots", "100"),
        ("checkpoint_timeout", "1h"),
    ];
    let mut settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    // Before, they were as many as the slots.
    if major() >= 18 {
        settings.push(("max_active_replication_origins".to_owned(), "100".to_owned()));
    }
    let cluster = Cluster::start(Options {
        limit: Some(200),
        hba: Some(
            "host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n".into(),
        ),
        settings,
        ..Options::default()
    });
    cluster.admin("postgres").rows(
        "create role boss login superuser; create role r1; create role r2; \
         grant r1, r2 to app",
    );
    cluster
}

/// Runs programs one after the other.
pub struct Arena {
    kind: Kind,
    /// Whether all that is seen is printed.
    verbose: bool,
    direct: Field,
    through: Field,
}

/// A database with what programs find in it.
struct Field {
    database: Database,
    admin: Raw,
}

impl Arena {
    /// With two new databases.
    pub fn new(cluster: &Arc<Cluster>, kind: Kind, verbose: bool) -> Self {
        Self { kind, verbose, direct: Field::new(cluster), through: Field::new(cluster) }
    }

    /// Every step, what was to be seen, and what was seen where that is something else.
    fn print(program: &Program, direct: &Record, through: &Record) {
        println!("seed {}, {} servers", program.seed, program.servers);
        for (number, step) in program.steps.iter().enumerate() {
            println!("{number:3} {step}");
            let text = |record: &Record| record.steps[number].to_string();
            let (theirs, ours) = (text(direct), text(through));
            println!("      {theirs}");
            if ours != theirs {
                println!("   != {ours}");
            }
        }
    }

    /// What programs are run through.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// From the next program on.
    pub fn set_kind(&mut self, kind: Kind) {
        self.kind = kind;
    }

    /// Runs a program on both sides.
    pub fn judge(&mut self, program: &Program) -> Verdict {
        self.direct.reset();
        let target = self.direct.database.target();
        let mut side = Side { target, admin: &mut self.direct.admin, reference: None };
        let mut direct = run(program, &mut side);
        direct.rename(self.direct.database.name());

        self.through.reset();
        let pooler = Pooler::start(self.kind, &self.through.database, program.servers);
        let admin = &mut self.through.admin;
        let mut side = Side { target: pooler.target(), admin, reference: Some(&direct) };
        let mut through = run(program, &mut side);
        through.rename(self.through.database.name());
        if self.verbose {
            Self::print(program, &direct, &through);
        }
        compare(program, &direct, &through)
    }
}

impl Field {
    fn new(cluster: &Arc<Cluster>) -> Self {
        let database = cluster.database();
        let mut admin = database.admin();
        admin.rows(include_str!("fixture.sql"));
        admin.rows(&format!("prepare others as {OTHERS}; prepare locks as {LOCKS}"));
        Self { database, admin }
    }

    /// Once the last program's sessions are gone.
    fn reset(&mut self) {
        wait_until("the sessions of the last program have ended", || {
            self.admin.value("execute others") == "0"
        });
        self.admin.rows("select public.oracle_reset()");
    }
}

const OTHERS: &str = "select count(*) from pg_stat_activity where datname = current_database() \
                      and pid <> pg_backend_pid() and backend_type = 'client backend'";

/// Advisory locks in the database: `execute locks` tells.
const LOCKS: &str = "select count(*) from pg_locks where locktype = 'advisory' and database = \
                     (select oid from pg_database where datname = current_database())";
