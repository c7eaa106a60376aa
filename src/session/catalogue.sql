WITH setter (call) AS (
    SELECT '%:funcid ' || oid::pg_catalog.text || ' %' FROM pg_catalog.pg_proc
    WHERE proname = 'set_config' AND pronamespace = 'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid
), source (subject, name, tree, code) AS (
    SELECT CASE WHEN l.lanname IN ('sql', 'plpgsql', 'c') OR p.prokind = 'a' THEN 'f'
            WHEN l.lanname = 'internal' THEN 'o' ELSE 'x' END,
        p.proname,
        CASE WHEN l.lanname = 'sql' AND p.prosrc = '' THEN pg_catalog.to_jsonb(p) ->> 'prosqlbody' END,
        CASE WHEN p.prokind = 'a' THEN (SELECT a.aggtransfn::text || '() ' || a.aggfinalfn::text || '()'
                FROM pg_catalog.pg_aggregate a WHERE a.aggfnoid::pg_catalog.oid = p.oid)
            WHEN l.lanname IN ('c', 'internal') THEN ''
            WHEN l.lanname <> 'sql' OR p.prosrc <> '' THEN p.prosrc
                || CASE WHEN p.proconfig::pg_catalog.text ~ 'search_path=pg_temp' THEN ' create temp table' ELSE '' END
            WHEN pg_catalog.to_jsonb(p) ->> 'prosqlbody' LIKE setter.call
                THEN pg_catalog.pg_get_functiondef(p.oid) END
    FROM pg_catalog.pg_proc p CROSS JOIN setter
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE CASE WHEN n.nspname IN ('pg_catalog', 'information_schema')
        THEN l.lanname = 'internal' AND p.provolatile = 'v' ELSE true END
    UNION ALL SELECT 'f', p.proname, p.proargdefaults::text, CASE WHEN p.proargdefaults::text LIKE setter.call
        THEN pg_catalog.pg_get_expr(p.proargdefaults, 0::pg_catalog.oid) END
    FROM pg_catalog.pg_proc p CROSS JOIN setter JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE p.proargdefaults IS NOT NULL AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    UNION ALL SELECT 'r', c.relname, e.expression::text,
        CASE WHEN e.expression::text LIKE setter.call THEN pg_catalog.pg_get_expr(e.expression, i.indrelid) END
    FROM pg_catalog.pg_index i CROSS JOIN setter
    CROSS JOIN LATERAL (VALUES (i.indexprs), (i.indpred)) e (expression)
    CROSS JOIN LATERAL (VALUES (i.indrelid), (i.indexrelid)) named (relid)
    JOIN pg_catalog.pg_class c ON c.oid = named.relid
    WHERE e.expression IS NOT NULL
    UNION ALL SELECT 'r', c.relname, p.partexprs::text, CASE WHEN p.partexprs::text LIKE setter.call
        THEN pg_catalog.pg_get_expr(p.partexprs, p.partrelid) END
    FROM pg_catalog.pg_class c CROSS JOIN setter
    CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(c.oid) a (relid)
    JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = a.relid::pg_catalog.oid
    WHERE (c.relispartition OR c.relkind = 'p') AND p.partexprs IS NOT NULL
        AND EXISTS (SELECT FROM pg_catalog.pg_partitioned_table WHERE partexprs IS NOT NULL)
    UNION ALL SELECT 'r', c.relname, e.expressions, CASE WHEN e.expressions LIKE setter.call
        THEN pg_catalog.pg_get_statisticsobjdef(s.oid) END
    FROM pg_catalog.pg_statistic_ext s CROSS JOIN setter
    CROSS JOIN LATERAL (SELECT pg_catalog.to_jsonb(s) ->> 'stxexprs') e (expressions)
    JOIN pg_catalog.pg_class c ON c.oid = s.stxrelid
    WHERE e.expressions IS NOT NULL
    UNION ALL SELECT 'w', c.relname, t.tgqual::text, pg_catalog.quote_ident(f.proname) || '()'
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
    JOIN pg_catalog.pg_proc f ON f.oid = t.tgfoid WHERE NOT t.tgisinternal
    UNION ALL SELECT CASE WHEN a.attgenerated = 'v' THEN 'r' ELSE 'w' END, c.relname, d.adbin::text,
        CASE WHEN d.adbin::text LIKE setter.call THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END
    FROM pg_catalog.pg_attrdef d CROSS JOIN setter JOIN pg_catalog.pg_class c ON c.oid = d.adrelid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    UNION ALL SELECT CASE WHEN r.ev_type = '1' THEN 'r' ELSE 'w' END, c.relname, r.ev_qual::text || r.ev_action::text,
        CASE WHEN r.ev_qual::text || r.ev_action::text LIKE setter.call
            THEN pg_catalog.pg_get_ruledef(r.oid) END
    FROM pg_catalog.pg_rewrite r CROSS JOIN setter JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
    UNION ALL SELECT 'r', c.relname, e.qual::text,
        CASE WHEN e.qual::text LIKE setter.call THEN pg_catalog.pg_get_expr(e.qual, p.polrelid) END
    FROM pg_catalog.pg_policy p CROSS JOIN setter JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
    CROSS JOIN LATERAL (VALUES (p.polqual), (p.polwithcheck)) e (qual)
    UNION ALL SELECT 'r', coalesce(c.relname, t.typname), k.conbin::text,
        CASE WHEN k.conbin::text LIKE setter.call THEN pg_catalog.pg_get_constraintdef(k.oid) END
    FROM pg_catalog.pg_constraint k CROSS JOIN setter
    JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace
    LEFT JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
    LEFT JOIN pg_catalog.pg_type t ON t.oid = k.contypid
    WHERE k.contype = 'c' AND n.nspname <> 'information_schema'
    UNION ALL SELECT 'r', t.typname, t.typdefaultbin::text, pg_catalog.concat_ws(' ', pg_catalog.quote_ident(b.typname),
        CASE WHEN t.typdefaultbin::text LIKE setter.call THEN pg_catalog.pg_get_expr(t.typdefaultbin, 0::pg_catalog.oid) END)
    FROM pg_catalog.pg_type t CROSS JOIN setter JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype AND b.typtype = 'd'
    WHERE t.typtype = 'd' AND (t.typdefaultbin IS NOT NULL OR b.oid IS NOT NULL) AND n.nspname <> 'information_schema'
    UNION ALL SELECT 'r', t.typname, NULL, pg_catalog.quote_ident(f.proname) || '()'
    FROM pg_catalog.pg_cast k JOIN pg_catalog.pg_proc f ON f.oid = k.castfunc
    JOIN pg_catalog.pg_type t ON t.oid = k.casttarget
    WHERE k.castfunc >= 16384 AND k.casttarget >= 16384
    UNION ALL SELECT 'w', c.relname, NULL, pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(t.typname), ' ')
    FROM pg_catalog.pg_type t
    JOIN pg_catalog.pg_attribute a ON a.atttypid = t.oid JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    WHERE t.oid >= 16384 AND c.relkind IN ('r', 'p', 'f', 'v') AND (t.typtype = 'd'
        OR t.oid IN (SELECT casttarget FROM pg_catalog.pg_cast WHERE castfunc >= 16384)) GROUP BY c.relname
    UNION ALL SELECT 'r', parent.relname, NULL, pg_catalog.quote_ident(child.relname)
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class parent ON parent.oid = k.confrelid
    JOIN pg_catalog.pg_class child ON child.oid = k.conrelid WHERE k.contype = 'f'
    UNION ALL SELECT 'r', parent.relname, NULL, pg_catalog.quote_ident(child.relname)
    FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class parent ON parent.oid = i.inhparent
    JOIN pg_catalog.pg_class child ON child.oid = i.inhrelid
), item AS MATERIALIZED (
    SELECT pg_catalog.row_number() OVER () AS number, source.* FROM source
), mention (number, name) AS (
    SELECT DISTINCT item.number, ' ' || pg_catalog.quote_ident(f.proname) || '()'
    FROM item CROSS JOIN pg_catalog.regexp_matches(item.tree, '(?:func|fno)id ([0-9]+)', 'g') m (found)
    JOIN pg_catalog.pg_proc f ON f.oid = (m.found)[1]::pg_catalog.oid
    WHERE item.code IS NULL OR f.proname <> 'set_config'
    UNION ALL SELECT DISTINCT item.number, ' ' || pg_catalog.quote_ident(c.relname)
    FROM item CROSS JOIN pg_catalog.regexp_matches(item.tree, ':relid ([0-9]+)', 'g') m (found)
    JOIN pg_catalog.pg_class c ON c.oid = (m.found)[1]::pg_catalog.oid
), mentioned (number, names) AS (
    SELECT number, pg_catalog.string_agg(name, '') FROM mention GROUP BY number
), named (subject, name, code) AS (
    SELECT item.subject, item.name, coalesce(item.code, '') || coalesce(mentioned.names, '')
        || CASE WHEN item.tree LIKE '%:commandType 3 %' OR item.tree LIKE '%:commandType 5 %'
            THEN ' insert' ELSE '' END
        || CASE WHEN item.tree LIKE '%:commandType 2 %' OR item.tree LIKE '%:commandType 4 %'
            THEN ' update' ELSE '' END
    FROM item LEFT JOIN mentioned ON mentioned.number = item.number
), filled (schema, relname, attname, sequence) AS (
    SELECT c.relnamespace, c.relname, a.attname, s.relname
    FROM pg_catalog.pg_class s JOIN pg_catalog.pg_depend p ON p.objid = s.oid AND p.deptype = 'i'
        AND p.classid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid AND p.refclassid = p.classid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = p.refobjid AND a.attnum = p.refobjsubid
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    WHERE s.relkind = 'S' AND s.relnamespace = c.relnamespace AND a.attidentity <> '' AND NOT c.relhasrules
    UNION ALL SELECT c.relnamespace, c.relname, a.attname, s.relname
    FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_depend p ON p.objid = d.oid
        AND p.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass::pg_catalog.oid
        AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid
    JOIN pg_catalog.pg_class s ON s.oid = p.refobjid AND s.relkind = 'S'
    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    JOIN pg_catalog.pg_class c ON c.oid = d.adrelid
    WHERE (d.adbin::text LIKE '{FUNCEXPR :funcid 1574 %'
        OR d.adbin::text LIKE '{FUNCEXPR :funcid 480 %:args ({FUNCEXPR :funcid 1574 %'
        OR d.adbin::text LIKE '{FUNCEXPR :funcid 714 %:args ({FUNCEXPR :funcid 1574 %')
        AND s.relnamespace = c.relnamespace AND NOT c.relhasrules
)
SELECT CASE WHEN pg_catalog.length(code) > 15000 THEN 'o' ELSE subject END, name,
    CASE WHEN pg_catalog.length(code) > 15000 THEN '' ELSE code END
FROM named
UNION ALL SELECT 'd', f.relname, pg_catalog.concat_ws(' ', pg_catalog.quote_ident(f.attname),
    pg_catalog.quote_ident(f.sequence), pg_catalog.quote_ident(n.nspname))
FROM filled f JOIN pg_catalog.pg_namespace n ON n.oid = f.schema
WHERE (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c
    WHERE c.relname = f.relname AND c.relkind IN ('r', 'p', 'f', 'v', 'm')) = 1
    AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c
    WHERE c.relname = f.sequence AND c.relkind = 'S') = 1
