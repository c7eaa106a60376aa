//! What only superusers can leave behind in a session.

use super::super::program::Area;
use super::{Maker, anyone, boss, own, sql};
use crate::support::major;

/// The areas of this file.
pub(super) const AREAS: &[Area] =
    &[Area::Authorization, Area::Load, Area::Slot, Area::Backup, Area::Origin, Area::Extension];

pub(super) const MAKERS: &[Maker] = &[
    boss(Area::Authorization, "set session authorization", 5, |g| sql(g.pick(AUTHORIZATIONS))),
    boss(Area::Authorization, "show the session's user", 5, |_| {
        sql("select session_user, current_user, current_setting('is_superuser')")
    }).look(),
    boss(Area::Load, "load a library", 2, |_| sql("load 'auto_explain'")),
    boss(Area::Load, "show a library's setting", 4, |_| sql("show auto_explain.log_format")).look(),
    boss(Area::Slot, "make a temporary slot", 2, |g| {
        sql(own(
            g,
            "select slot_name from pg_create_physical_replication_slot('slot_%_' || current_database(), false, true)",
        ))
    }),
    boss(Area::Slot, "list one's slots", 4, |_| {
        sql(
            "select slot_name, temporary from pg_replication_slots where active_pid = pg_backend_pid()",
        )
    }).look(),
    boss(Area::Slot, "drop a slot", 1, |g| {
        sql(own(g, "select pg_drop_replication_slot('slot_%_' || current_database())"))
    }),
    boss(Area::Backup, "start a backup", 1, |_| {
        sql(if major() < 15 {
            "select pg_start_backup('oracle', true, false) is not null"
        } else {
            "select pg_backup_start('oracle', true) is not null"
        })
    }),
    boss(Area::Backup, "stop a backup", 3, |_| {
        sql(if major() < 15 {
            "select (pg_stop_backup(false)).labelfile is not null"
        } else {
            "select (pg_backup_stop(false)).labelfile is not null"
        })
    }).look(),
    boss(Area::Origin, "set up an origin", 2, |g| {
        sql(own(g, "select pg_replication_origin_session_setup('origin_%_' || current_database())"))
    }),
    boss(Area::Origin, "is an origin set up", 4, |_| {
        sql("select pg_replication_origin_session_is_setup()")
    }).look(),
    boss(Area::Origin, "reset an origin", 1, |_| {
        sql("select pg_replication_origin_session_reset()")
    }),
    anyone(Area::Extension, "set a library's setting by its function", 2, |g| {
        sql(g.pick(&["select public.set_limit(0.5)", "set pg_trgm.similarity_threshold = 0.7"]))
    }),
    anyone(Area::Extension, "show a library's setting by its function", 2, |_| {
        sql("select public.show_limit()")
    }).look(),
    boss(Area::Extension, "open a dblink", 2, |_| {
        sql("select public.dblink_connect('link', 'host=127.0.0.1 dbname=' || current_database() \
             || ' user=boss port=' || current_setting('port'))")
    }),
    boss(Area::Extension, "list dblinks", 4, |_| sql("select public.dblink_get_connections()")).look(),
    boss(Area::Extension, "close a dblink", 1, |_| sql("select public.dblink_disconnect('link')")),
];

const AUTHORIZATIONS: &[&str] = &[
    "set session authorization app",
    "set session authorization r1",
    "set local session authorization r2",
    "reset session authorization",
    "set session authorization default",
    "set session authorization nobody_at_all",
];
