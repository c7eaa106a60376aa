-- psql in its usual ways; the output must not depend on the server.
\set VERBOSITY verbose
\pset null NULL
create table t (a serial primary key, b text unique);
insert into t (b) values ('one'), ('two'), (null) returning *;
begin;
insert into t (b) values ('three');
savepoint s;
insert into t (b) values ('three');
rollback to s;
commit;
select 1 / 0;
begin;
select nothing;
select 1;
commit;
\copy t (b) from program 'printf "four\\nfive\\n"'
\copy (select * from t order by a) to stdout csv header
copy t (b) from stdin;
six
seven
\.
copy t (a) from stdin;
oops
\.
select count(*), sum(length(b)) from t;
\set FETCH_COUNT 100
select sum(g) from (select generate_series(1, 1000) g) s;
select repeat('x', 10) from generate_series(1, 3);
\unset FETCH_COUNT
select format('select %s as generated', g) from generate_series(1, 3) g \gexec
\d t
select b from t where a = 1 \gdesc
set timezone to 'Asia/Tokyo';
show timezone;
do $$ begin raise notice 'said in passing'; end $$;
vacuum t;
