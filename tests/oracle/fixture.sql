-- What session programs find in their database. Each session N has own_N, deferred_N, serial_N,
-- trig_N, defs_N, ruled_N, shape_N and seq_N to itself, so that no session waits for another.
grant all on schema public to public;
create schema other;
grant all on schema other to public;
create table lookup (id int, word text);
insert into lookup select g, 'word ' || g from generate_series(1, 5) g;
create table other.lookup (id int, word text);
insert into other.lookup select g, 'other ' || g from generate_series(1, 3) g;
create schema apart;
grant all on schema apart to public;
create table apart.lookup (id text, more int, word int);
insert into apart.lookup values ('2', 20, 200), ('02', 21, 201);
create table tenants (tenant text, secret text);
insert into tenants values ('A', 'of A'), ('A', 'of A too'), ('B', 'of B'), ('C', 'of C');
alter table tenants enable row level security;
alter table tenants force row level security;
create policy by_tenant on tenants using (tenant = current_setting('app.tenant', true));
create sequence shared_seq;

create function hide_set(n text, v text) returns text language sql
  as 'select set_config(n, v, false)';
create function hide_set_pl(n text, v text) returns text language plpgsql
  as 'begin perform set_config(n, v, false); return current_setting(n); end';
create function hide_set_fixed() returns void language plpgsql
  as 'begin set work_mem = ''5MB''; set app.tenant = ''C''; end';
create function hide_temp(n text) returns int language plpgsql
  as 'begin execute format(''create temp table %I as select 1 as a'', n); return 1; end';
create function hide_temp_sql() returns void language sql
  as 'create temp table tt_0 (a int)';
create function hide_lock(k bigint) returns bool language sql
  as 'select pg_try_advisory_lock(k)';
create function hide_lock_pl(k bigint) returns bool language plpgsql
  as 'begin return pg_try_advisory_lock(k); end';
create function hide_next(s regclass) returns bigint language plpgsql
  as 'begin return nextval(s); end';
create function hide_listen() returns void language plpgsql as 'begin listen ch_a; end';
create function hide_notify(p text) returns void language plpgsql
  as 'begin perform pg_notify(''ch_a'', p); end';
create function hide_cursor() returns void language plpgsql
  as 'begin execute ''declare held_a cursor with hold for select id from lookup order by id''; end';
create function hide_role(r text) returns text language plpgsql
  as 'begin perform set_config(''role'', r, false); return current_user; end';
create function hide_deep(n text, v text) returns text language plpgsql
  as 'begin return hide_set_pl(n, v); end';
create function hide_any(t text) returns void language plpgsql as 'begin execute t; end';
create function with_set_clause() returns text language sql set work_mem = '9MB'
  as 'select current_setting(''work_mem'')';
create procedure hide_proc(v text) language plpgsql
  as 'begin perform set_config(''app.user'', v, false); commit; end';
create function tell_tenant() returns trigger language plpgsql
  as 'begin perform set_config(''app.tenant'', new.v, false); return new; end';
create view hide_view as select set_config('app.user', 'view', false) as v;

do $$
begin
  for n in 0..3 loop
    execute format('create sequence seq_%s', n);
    execute format('create table own_%s (a int, b text)', n);
    execute format('create table deferred_%s (a int unique deferrable initially deferred)', n);
    execute format('create table serial_%s (id serial, a int)', n);
    execute format('create table trig_%s (v text)', n);
    execute format('create trigger t before insert on trig_%s for each row execute function tell_tenant()', n);
    execute format('create table defs_%s (a int, v text default set_config(''statement_timeout'', ''77s'', false))', n);
    execute format('create table ruled_%s (a int)', n);
    execute format('create table shape_%s as select 1 as a', n);
    execute format('alter table shape_%s owner to app', n);
    execute format('create rule r as on insert to ruled_%s do also select pg_try_advisory_lock(40 + %s)', n, n);
  end loop;
end $$;
grant all on all tables in schema public to public;
grant all on all tables in schema other to public;
grant all on all tables in schema apart to public;
grant all on all sequences in schema public to public;

-- Back to the above, but for what programs cannot change.
create function oracle_reset() returns void language plpgsql as $$
declare made record;
begin
  for made in select oid::regclass::text as name, relkind from pg_class
      where relname like 'made%' and relkind in ('r', 'v') loop
    execute format('drop %s if exists %s cascade',
      case made.relkind when 'r' then 'table' else 'view' end, made.name);
  end loop;
  perform setval('shared_seq', 1, false);
  for n in 0..3 loop
    execute format('delete from own_%s', n);
    execute format('delete from deferred_%s', n);
    execute format('delete from serial_%s', n);
    execute format('delete from trig_%s', n);
    execute format('delete from defs_%s', n);
    execute format('delete from ruled_%s', n);
    if (select atttypid <> 'int'::regtype from pg_attribute
        where attrelid = format('shape_%s', n)::regclass and attname = 'a') then
      execute format('alter table shape_%s alter a type int using 1', n);
    end if;
    execute format('select setval(%L, 1, false)', 'seq_' || n);
    execute format('select setval(%L, 1, false)', 'serial_' || n || '_id_seq');
  end loop;
end $$;

do $$ begin
  execute format('alter role app in database %I set app.level = ''low''', current_database());
end $$;

-- Of the whole cluster, hence the name.
select pg_replication_origin_create(format('origin_%s_%s', n, current_database()))
  from generate_series(0, 3) n;
create extension dblink with schema public;
create extension pg_trgm with schema public;
