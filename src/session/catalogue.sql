WITH RECURSIVE made (source, target, function) AS MATERIALIZED (
    SELECT castsource, casttarget, castfunc FROM pg_catalog.pg_cast
    WHERE castfunc >= '16384' AND castfunc IN (
        SELECT oid FROM pg_catalog.pg_proc WHERE oid >= '16384' AND prolang NOT IN ('12', '13'))
), held (is_type, number, origin) AS (
    SELECT true, number, '0'::pg_catalog.oid FROM (
        SELECT contypid, conbin::pg_catalog.text FROM pg_catalog.pg_constraint WHERE contypid >= '16384'
        UNION ALL SELECT oid, typdefaultbin::pg_catalog.text FROM pg_catalog.pg_type
        WHERE oid >= '16384' AND typtype = 'd' AND typdefaultbin IS NOT NULL
    ) AS domain (number, tree)
    WHERE EXISTS (SELECT FROM (
            SELECT m.found[1]::pg_catalog.oid FROM pg_catalog.regexp_matches(tree, 'funcid ([0-9]+)', 'g') m (found)
        ) AS called (function)
        WHERE function <> '1574' AND function IN (SELECT oid FROM pg_catalog.pg_proc
            WHERE prolang <> '13' AND (oid >= '16384' OR proname::pg_catalog.text LIKE '%\_to\_xml%'
                OR provolatile = 'v' AND proname::pg_catalog.text NOT IN ('clock_timestamp', 'gen_random_uuid',
                    'random', 'random_normal', 'timeofday', 'uuidv4', 'uuidv7'))))
    UNION SELECT true, number, '0' FROM made CROSS JOIN LATERAL (VALUES (source), (target)) t (number)
    WHERE number >= '16384'
    UNION SELECT found.is_type, found.number, held.number
    FROM held CROSS JOIN LATERAL (
        SELECT classid <> '1255', CASE WHEN classid IN ('1247', '1255') THEN objid ELSE coalesce(
            (SELECT nullif(reltype, '0') FROM pg_catalog.pg_class WHERE oid = objid AND classid = '1259'),
            (SELECT CASE refclassid WHEN '1247' THEN refobjid
                ELSE (SELECT reltype FROM pg_catalog.pg_class WHERE oid = refobjid) END
                FROM pg_catalog.pg_depend AS owner
                WHERE owner.classid = used.classid AND owner.objid = used.objid AND deptype IN ('a', 'i', 'S')
                    AND refclassid IN ('1247', '1259') LIMIT 1)) END
        FROM pg_catalog.pg_depend AS used
        WHERE refclassid = '1247' AND refobjid = held.number OFFSET 0
    ) AS found (is_type, number)
    WHERE held.is_type AND found.number >= '16384'
)
SELECT CASE WHEN pg_catalog.length(code) <= 15000 OR code IS NULL THEN subject
        WHEN subject IN ('r', 'w') THEN 'l' ELSE 'o' END, number, name,
    CASE WHEN pg_catalog.length(code) > 15000 THEN '' ELSE code END,
    CASE WHEN tree IS NOT NULL THEN (SELECT pg_catalog.string_agg(DISTINCT (m.found)[1], ' ')
        FROM pg_catalog.regexp_matches(tree, '((?:func|fno|:rel|^type)id [0-9]+|:commandType [2-5])', 'g') m (found)) END
FROM (
    SELECT CASE WHEN oid < '16384' AND NOT (prolang = '12' AND provolatile = 'v') THEN 'p'
            WHEN prolang IN ('13', '14') OR prokind = 'a' THEN 'f'
            WHEN prolang = '12' THEN 'o'
            WHEN prolang = (SELECT oid FROM pg_catalog.pg_language WHERE lanname = 'plpgsql') THEN 'f' ELSE 'x' END,
        oid, proname::pg_catalog.text,
        CASE WHEN oid < '16384' THEN ''
            WHEN prokind = 'a' OR prolang IN ('12', '13') THEN ''
            WHEN prolang <> '14' OR prosrc <> '' THEN prosrc
            WHEN pg_catalog.to_jsonb(p) ->> 'prosqlbody'::pg_catalog.text LIKE '%:funcid 2078 %'
                THEN pg_catalog.pg_get_functiondef(oid) END,
        CASE WHEN oid < '16384' THEN NULL
            WHEN prokind = 'a' THEN (SELECT pg_catalog.concat_ws(' funcid ', '', aggtransfn::pg_catalog.oid,
                aggfinalfn::pg_catalog.oid, aggcombinefn::pg_catalog.oid, aggserialfn::pg_catalog.oid,
                aggdeserialfn::pg_catalog.oid, aggmtransfn::pg_catalog.oid, aggminvtransfn::pg_catalog.oid,
                aggmfinalfn::pg_catalog.oid) FROM pg_catalog.pg_aggregate WHERE aggfnoid::pg_catalog.oid = p.oid)
            WHEN prolang = '14' AND prosrc = '' THEN pg_catalog.to_jsonb(p) ->> 'prosqlbody'::pg_catalog.text END
    FROM pg_catalog.pg_proc p
    WHERE oid >= '16384' OR provolatile = 'v' OR proname::pg_catalog.text LIKE '%\_to\_xml%'
    UNION ALL SELECT 'f', oid, proname::pg_catalog.text,
        CASE WHEN proargdefaults::pg_catalog.text LIKE '%:funcid 2078 %'
            THEN pg_catalog.pg_get_expr(proargdefaults, '0'::pg_catalog.oid) END, proargdefaults::pg_catalog.text
    FROM pg_catalog.pg_proc WHERE oid >= '16384' AND proargdefaults IS NOT NULL
    UNION ALL SELECT 'f', oid, proname::pg_catalog.text, 'create temp table', NULL
    FROM pg_catalog.pg_proc WHERE oid >= '16384' AND proconfig IS NOT NULL
        AND proconfig::pg_catalog.text LIKE '%search\_path=%pg\_temp%'
        AND (prosrc ~* 'create' OR NOT EXISTS (SELECT FROM pg_catalog.pg_namespace
            WHERE nspname::pg_catalog.text = pg_catalog.substring(proconfig::pg_catalog.text, 'search_path=([^",]*)')
                AND nspname::pg_catalog.text NOT LIKE 'pg\_temp%'))
    UNION ALL SELECT CASE WHEN is_type THEN 't' ELSE 'f' END, number, CASE WHEN is_type
            THEN number::pg_catalog.regtype::pg_catalog.text
            ELSE (SELECT proname::pg_catalog.text FROM pg_catalog.pg_proc WHERE oid = number) END,
        NULL, 'typeid ' || origin::pg_catalog.text
    FROM held
    UNION ALL SELECT 'v', typrelid, oid::pg_catalog.regtype::pg_catalog.text, NULL, NULL
    FROM pg_catalog.pg_type WHERE typrelid <> '0' AND oid IN (SELECT number FROM held WHERE is_type)
    UNION ALL SELECT 'v', oid, oid::pg_catalog.regclass::pg_catalog.text, NULL, NULL
    FROM pg_catalog.pg_class WHERE oid < '16384' AND relkind = 'v'
    UNION ALL SELECT 'r', relation, relation::pg_catalog.regclass::pg_catalog.text,
        CASE WHEN expression::pg_catalog.text LIKE '%:funcid 2078 %'
            THEN pg_catalog.pg_get_expr(expression, indrelid) END, expression::pg_catalog.text
    FROM pg_catalog.pg_index CROSS JOIN LATERAL (VALUES (indexprs), (indpred)) e (expression)
    CROSS JOIN LATERAL (VALUES (indrelid), (indexrelid)) r (relation)
    WHERE expression IS NOT NULL
    UNION ALL SELECT 'r', c.oid, c.oid::pg_catalog.regclass::pg_catalog.text,
        CASE WHEN partexprs::pg_catalog.text LIKE '%:funcid 2078 %'
            THEN pg_catalog.pg_get_expr(partexprs, partrelid) END, partexprs::pg_catalog.text
    FROM pg_catalog.pg_class c CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(c.oid) a (relid)
    JOIN pg_catalog.pg_partitioned_table ON partrelid = a.relid::pg_catalog.oid
    WHERE (relispartition OR relkind = 'p') AND partexprs IS NOT NULL
        AND EXISTS (SELECT FROM pg_catalog.pg_partitioned_table WHERE partexprs IS NOT NULL)
    UNION ALL SELECT 'r', stxrelid, stxrelid::pg_catalog.regclass::pg_catalog.text,
        CASE WHEN pg_catalog.to_jsonb(s) ->> 'stxexprs'::pg_catalog.text LIKE '%:funcid 2078 %'
            THEN pg_catalog.pg_get_statisticsobjdef(oid) END,
        pg_catalog.to_jsonb(s) ->> 'stxexprs'::pg_catalog.text
    FROM pg_catalog.pg_statistic_ext s
    UNION ALL SELECT 'w', tgrelid, tgrelid::pg_catalog.regclass::pg_catalog.text, NULL,
        ':funcid ' || tgfoid::pg_catalog.text || ' ' || coalesce(tgqual::pg_catalog.text, '')
    FROM pg_catalog.pg_trigger WHERE NOT tgisinternal OR tgparentid <> '0' AND tgfoid >= '16384'
    UNION ALL SELECT CASE WHEN (SELECT attgenerated = 'v' FROM pg_catalog.pg_attribute
            WHERE attrelid = adrelid AND attnum = adnum) THEN 'r' ELSE 'w' END,
        adrelid, adrelid::pg_catalog.regclass::pg_catalog.text,
        CASE WHEN adbin::pg_catalog.text LIKE '%:funcid 2078 %'
            THEN pg_catalog.pg_get_expr(adbin, adrelid) END, adbin::pg_catalog.text
    FROM pg_catalog.pg_attrdef
    UNION ALL SELECT CASE WHEN ev_type = '1' THEN 'r' ELSE 'w' END,
        ev_class, ev_class::pg_catalog.regclass::pg_catalog.text,
        CASE WHEN ev_qual::pg_catalog.text || ev_action::pg_catalog.text LIKE '%:funcid 2078 %'
            THEN pg_catalog.pg_get_ruledef(oid) END, ev_qual::pg_catalog.text || ev_action::pg_catalog.text
    FROM pg_catalog.pg_rewrite WHERE oid >= '16384'
    UNION ALL SELECT 'r', polrelid, polrelid::pg_catalog.regclass::pg_catalog.text,
        CASE WHEN condition::pg_catalog.text LIKE '%:funcid 2078 %'
            THEN pg_catalog.pg_get_expr(condition, polrelid) END, condition::pg_catalog.text
    FROM pg_catalog.pg_policy CROSS JOIN LATERAL (VALUES (polqual), (polwithcheck)) e (condition)
    UNION ALL SELECT 'r', conrelid, CASE WHEN conrelid <> '0' THEN conrelid::pg_catalog.regclass::pg_catalog.text
            ELSE contypid::pg_catalog.regtype::pg_catalog.text END,
        CASE WHEN conbin::pg_catalog.text LIKE '%:funcid 2078 %'
            THEN pg_catalog.pg_get_constraintdef(oid) END, conbin::pg_catalog.text
    FROM pg_catalog.pg_constraint WHERE contype = 'c' AND oid >= '16384'
    UNION ALL SELECT 'r', confrelid, confrelid::pg_catalog.regclass::pg_catalog.text, NULL,
        ':relid ' || conrelid::pg_catalog.text
    FROM pg_catalog.pg_constraint WHERE contype = 'f'
    UNION ALL SELECT 'r', inhparent, inhparent::pg_catalog.regclass::pg_catalog.text, NULL,
        ':relid ' || inhrelid::pg_catalog.text
    FROM pg_catalog.pg_inherits
    UNION ALL SELECT 'r', '0', oid::pg_catalog.regtype::pg_catalog.text,
        CASE WHEN typbasetype >= '16384' THEN typbasetype::pg_catalog.regtype::pg_catalog.text || ' ' ELSE '' END
        || CASE WHEN typdefaultbin::pg_catalog.text LIKE '%:funcid 2078 %'
            THEN pg_catalog.pg_get_expr(typdefaultbin, '0'::pg_catalog.oid) ELSE '' END, typdefaultbin::pg_catalog.text
    FROM pg_catalog.pg_type
    WHERE oid >= '16384' AND typtype = 'd' AND (typdefaultbin IS NOT NULL OR typbasetype >= '16384')
    UNION ALL SELECT 'r', '0', number::pg_catalog.regtype::pg_catalog.text, NULL, ':funcid ' || function::pg_catalog.text
    FROM made CROSS JOIN LATERAL (VALUES (source), (target)) t (number) WHERE number >= '16384'
    UNION ALL SELECT 'd', '0', table_name::pg_catalog.text,
        pg_catalog.concat_ws(' ', pg_catalog.quote_ident(column_name), pg_catalog.quote_ident(sequence), schema_name), NULL
    FROM (
        SELECT sequence, relnamespace::pg_catalog.regnamespace::pg_catalog.text,
            (SELECT relname FROM pg_catalog.pg_class c
                WHERE c.oid = relid AND c.relnamespace = filling.relnamespace AND NOT relhasrules),
            (SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = relid AND attnum = filling.number)
        FROM (
            SELECT s.relname, s.relnamespace, p.refobjid, p.refobjsubid
            FROM pg_catalog.pg_class s JOIN pg_catalog.pg_depend p
                ON p.classid = '1259' AND p.objid = s.oid AND p.deptype = 'i' AND p.refclassid = '1259'
            WHERE s.relkind = 'S'
            UNION ALL SELECT s.relname, s.relnamespace, d.adrelid, d.adnum
            FROM pg_catalog.pg_attrdef d
            JOIN pg_catalog.pg_depend p ON p.classid = '2604' AND p.objid = d.oid AND p.refclassid = '1259'
            JOIN pg_catalog.pg_class s ON s.oid = p.refobjid AND s.relkind = 'S'
            WHERE d.adbin::pg_catalog.text LIKE '{FUNCEXPR :funcid 1574 %'
                OR d.adbin::pg_catalog.text LIKE '{FUNCEXPR :funcid 480 %:args ({FUNCEXPR :funcid 1574 %'
                OR d.adbin::pg_catalog.text LIKE '{FUNCEXPR :funcid 714 %:args ({FUNCEXPR :funcid 1574 %'
        ) AS filling (sequence, relnamespace, relid, number)
    ) AS filled (sequence, schema_name, table_name, column_name)
    WHERE table_name IS NOT NULL AND column_name IS NOT NULL
        AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class
            WHERE relname = table_name AND relkind IN ('r', 'p', 'f', 'v', 'm')) = 1
        AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class WHERE relname = sequence AND relkind = 'S') = 1
) AS item (subject, number, name, code, tree)
