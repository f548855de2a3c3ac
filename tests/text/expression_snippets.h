#pragma once
// Small templates, one for each corner of the language outside of tags and in expressions.

namespace sluice::test {

inline constexpr const char* kExpressionSnippets[] = {
    // Text, comments, raw, white space.
    "",
    "plain",
    "line\n",
    "line\n\n",
    "a\r\nb\rc\n",
    "{# c #}x",
    "{#- c -#} x",
    "a {#- c -#} b",
    "{# c #}\nx",
    "{#c+#}\nx",
    "a{#",
    "{# {{ x }} {% if %} #}y",
    "{#}#}z",
    "{% raw %}{{ x }}{% endraw %}",
    "{%- raw -%} {{ x }} {%- endraw -%} y",
    "a\n  {% raw %}\n b {% endraw %}\n c",
    "{% raw %}",
    "{% raw %}x",
    "{{",
    "{%",
    "{",
    "}}",
    "%}",
    "{ {",
    "#}",
    "{{ }}",
    "{% %}",
    "  {% if 1 %}\n  x\n  {% endif %}\n  y",
    "  {%+ if 1 %}\n  x\n  {%+ endif %}\n y",
    "  {% if 1 +%}\n  x\n  {% endif +%}\n y",
    "  {%- if 1 -%}\n  x\n  {%- endif -%}\n y",
    "a  {% set x = 1 %}  b",
    "a\n \t{% set x = 1 %}\n\tb",
    "a \n {{- 1 -}} \n b",
    "a \n {{ 1 }} \n b",
    "  {{ 1 }}\n",
    "\n\n{%- set x = 1 -%}\n\n",
    "{% if 1 %}\n\nx{% endif %}",
    "\u00a0{%- set x=1 %}y",
    "x {{+ 1 }}",
    "  {#- x #}\n  {# y #}\n z",
    "{% if 1 %}a{% endif %}\n{% if 1 %}b{% endif %}\n",
    "  {% set x = 1 %}{% set y = 2 %}  z",
    "{{ 1 }}\n{{ 2 }}\n",
    "{{ '}}' }}",
    "{{ '%}' }}",
    "{{ {'a': {'b': 1}} }}",
    "{{ {'a': {'b': 1}}.a.b}}",
    "{% set x = {'a': 1} %}{{ x }}",
    "{{ 1 }",
    "{{ (1 }}",
    "{{ 1) }}",
    "{{ [1) }}",
    "{{ ? }}",
    "{{ a ! b }}",
    // Literals.
    "{{ 1 }} {{ 1.0 }} {{ 1e3 }} {{ 1.5e-7 }} {{ 0x1f }} {{ 0b101 }} {{ 0o17 }} {{ 1_000 }} {{ 00 "
    "}} {{ 1_0.2_5 }}",
    "{{ 007 }}",
    "{{ 1__0 }}",
    "{{ 1. }}",
    "{{ .5 }}",
    "{{ true }} {{ True }} {{ false }} {{ none }} {{ None }}",
    "{{ 'a' 'b' \"c\" }}",
    R"({{ 'a\n\t\\\'\"\x41\u00e9\U0001F642\101\q' }})",
    R"({{ 'a\
b' }})",
    R"({{ '\é \世' }})",
    "{{ [] }} {{ [1,] }} {{ [1, 'a', [2]] }}",
    "{{ () }} {{ (1,) }} {{ (1, 2) }} {{ (1) }}",
    "{{ 1, 2 }}",
    "{{ {} }} {{ {'a': 1, 2: 'b',} }}",
    "{{ {1: 'a', true: 'b', 1.0: 'c'} }}",
    "{{ {[1]: 2} }}",
    "{{ {(1, 2): 3}[1, 2] }}",
    "{{ 1e400 }}",
    "{{ 1e16 }} {{ 123456789012345680.0 }} {{ 0.1 + 0.2 }} {{ 1e22 }} {{ 1e-5 }} {{ 0.0001 }} {{ "
    "-0.0 }} {{ 1/3 }} {{ 5e-324 }} {{ 100000.0 }}",
    "{{ 'it\\'s' | list }}",
    "{{ ['it\\'s', \"a\\\"b\", 'x\\'y\"z', '\\n\\t\\r\\\\', '\\x00\\x7f\\x80', 'é', '\\u200b', "
    "'\\U0001F642'] }}",
    // Operators.
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 // 2 }} {{ -7.5 % 2 "
    "}} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 0.5 }}",
    "{{ -2 ** 2 }}",
    "{{ 2 ** 3 ** 2 }}",
    "{{ 6 / 3 }} {{ 1 + 2 * 3 - 4 }} {{ (1 + 2) * 3 }}",
    "{{ 1 / 0 }}",
    "{{ 1 % 0 }}",
    "{{ 1.0 // 0 }}",
    "{{ 'a' + 1 }}",
    "{{ 'a' ~ 1 ~ none ~ [1] ~ x }}",
    "{{ 1 ~ 2 + 3 }}",
    "{{ 'a' * 3 }} {{ 2 * [1] }} {{ 'x' * -1 }}",
    "{{ true + true }} {{ -true }} {{ true * 'x' }}",
    "{{ [1] + [2] }} {{ (1,) + (2,) }}",
    "{{ [1] + (2,) }}",
    "{{ {} + {} }}",
    "{{ not 1 }} {{ not not 1 }}",
    "{{ 1 and 'x' }} {{ 0 and x.y }} {{ '' or 'z' }} {{ none or 0 }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 >= 2 }} {{ 1 == 1.0 == true }}",
    "{{ 'a' < 'b' }} {{ 'B' < 'a' }} {{ 'é' > 'z' }} {{ [1, 2] < [1, 3] }} {{ (1,) < (1, 0) }}",
    "{{ 1 < 'a' }}",
    "{{ none < 1 }}",
    "{{ {} < {} }}",
    "{{ 1 in [1] }} {{ 'a' in 'abc' }} {{ 'a' in {'a': 1} }} {{ 1 not in (2, 3) }} {{ '' in '' }}",
    "{{ 1 in 'abc' }}",
    "{{ 1 in 5 }}",
    "{{ 'x' in undefined_thing }}",
    "{{ [] in {} }}",
    "{{ 1 == '1' }} {{ none == none }} {{ [1] == (1,) }} {{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1.0} "
    "}}",
    "{{ 1 if true else 2 }} {{ 1 if false }}|{{ 1 if false else 2 if false else 3 }}",
    "{{ (1 if false).x }}",
    "{{ x is defined and x.y }}",
    "{{ 1 + 1 == 2 and 'yes' }}",
    "{{ +'a' }}",
    "{{ -'a' }}",
    "{{ +true }}",
    "{{ 1 is 1 }}",
    "{{ 10 is divisibleby 5 and true }}",
    "{{ not 1 == 2 }} {{ not 1 in [2] }}",
    "{{ -1 | abs }} {{ (-1) | abs }}",
    "{{ 1 if 1 }}",
    "{{ (1, 2) == (1, 2) }} {{ [1, [2]] == [1, [2]] }}",
    "{{ 9007199254740993 == 9007199254740992.0 }} {{ 1 < 1.5 }} {{ 2 > 1.5 }}",
    "{{ 5 % 'a' }}",
    "{{ '%s' % 5 }} {{ '%d%%' % 5.7 }} {{ '%5.2f|%-5d|%05d|%+d|% d' % (3.14159, 42, 42, 42, 42) }} "
    "{{ '%s %s' % ('a', [1]) }}",
    "{{ '%s' % (1, 2) }}",
    "{{ '%s %s' % 'a' }}",
    "{{ '%(a)s %(b)r' % {'a': 1, 'b': 'x'} }}",
    "{{ '%x %X %o %#x %e %g %G %c %r' % (255, 255, 8, 255, 12345.678, 0.00001, 1e20, 'z', 'q') }}",
    "{{ '%d' % 'a' }}",
    "{{ '%q' % 1 }}",
    "{{ '%' % 1 }}",
    "{{ '%.3s|%10.2s|%-6s|' % ('abcdef', 'abc', 'é') }}",
    "{{ '%*d' % (5, 1) }}",
    "{{ '%s' % undefined_thing }}",
    // Names, attributes, items, slices.
    "{{ x }}",
    "{{ x.y }}",
    "{{ x['y'] }}",
    "{{ x() }}",
    "{{ x + 1 }}",
    "{{ -x }}",
    "{{ x < 1 }}",
    "{{ x == y }} {{ x == 1 }} {{ x != y }}",
    "{{ x[1:] }}",
    "{{ x|length }} {{ x|list }} {{ x|upper }}|{{ x|join }}",
    "{% for i in x %}a{% else %}b{% endfor %}",
    "{{ d.a }} {{ d['a'] }} {{ d.zz }} {{ d['zz'] }} {{ d.items is callable }} {{ d['items'] }}",
    "{{ d.zz.y }}",
    "{{ d.get('a') }} {{ d.get('zz') }} {{ d.get('zz', 5) }}",
    "{{ d.keys()|list }} {{ d.values()|list }} {{ d.items()|list }}",
    "{{ d.keys() }} {{ d.items() }} {{ d.values() }}",
    "{{ d.get() }}",
    "{{ d.get([]) }}",
    "{{ d.items()[0] }}|",
    "{{ d.items()|length }} {{ d|length }}",
    "{{ d.copy() }}",
    "{{ d.update({}) }}",
    "{{ d.update is defined }}",
    "{{ l.append(1) }}",
    "{{ l.append is defined }}",
    "{{ l.index(2) }} {{ l.count(1) }}",
    "{{ l.index(99) }}",
    "{{ l.0 }} {{ l[1] }} {{ l[-1] }} {{ l[99] }}|{{ l['a'] }}",
    "{{ l[99].x }}",
    "{{ l['x'].y }}",
    "{{ l[1:] }} {{ l[:-1] }} {{ l[::2] }} {{ l[::-1] }} {{ l[5:1] }} {{ l[-100:100] }} {{ l[:] }} "
    "{{ l[2:0:-1] }} {{ l[none:none] }} {{ l[true:] }}",
    "{{ l[::0] }}",
    "{{ l['a':] }}",
    "{{ l[1.5:] }}",
    "{{ d[1:] }}",
    "{{ 'héllo wörld'[1:4] }} {{ 'héllo'[1] }} {{ 'héllo'[-1] }} {{ 'héllo'[::-1] }} {{ 'héllo'[9] "
    "}}|{{ 'abc'[::2] }}",
    "{{ (1, 2, 3)[1:] }}",
    "{{ s.__class__ }}|{{ s.__class__.x }}",
    "{{ s._private }}|",
    "{{ d._under }}",
    "{{ s['upper']() }}",
    "{{ s.nothing }}|{{ none.x }}|{{ 1 .x }}",
    "{{ none.x.y }}",
    "{{ 5 .real }}",
    "{{ range(10)[3] }} {{ range(10)[2:4] is defined }} {{ range(5)|length }}",
    "{{ range(3) }} {{ range(1, 3) }} {{ range(1, 9, 2) }} {{ range(3)|list }} {{ range(3, 0, "
    "-1)|list }}",
    "{{ range(1.5) }}",
    "{{ range(1, 2, 0) }}",
    "{{ range(100001) }}",
    "{{ range(100000)|length }}",
    "{{ range() }}",
    "{{ dict(a=1, b=2) }} {{ dict({'x': 1}, y=2) }} {{ dict([('a', 1)]) }}",
    "{{ namespace(a=1).a }} {{ namespace({'b': 2}).b }} {{ namespace().zz }}|",
    "{{ namespace(a=1) }}",
    "{{ namespace(a=1)['a'] }}",
    "{{ caller }}|{{ loop }}",
    "{{ d[none] }}|{{ d[1] }}|{{ {1: 'one'}[1] }} {{ {1: 'one'}[true] }} {{ {none: 'n'}[none] }}",
    "{{ 'abc'['x'] }}|{{ 'abc'[1.0] }}|",
    "{{ {'a.b': 1}['a.b'] }}",
    "{{ {}.x is defined }} {{ {'x': none}.x is defined }}",
    "{{ 1.5.is_integer() }} {{ 2.0.is_integer() }}",
    // Methods of strings.
    "{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ s.capitalize() }} {{ s.swapcase() }}",
    "{{ 'ß ŉ ﬁ é İ ǆ'.upper() }} {{ 'ÉÀ'.lower() }} {{ 'ß'.capitalize() }} {{ \"they're b'c x-y "
    "é\".title() }}",
    "[{{ '  a '.strip() }}][{{ '  a '.lstrip() }}][{{ '  a '.rstrip() }}][{{ 'xxaxx'.strip('x') "
    "}}][{{ 'abcba'.strip('ab') }}][{{ 'a'.strip(none) }}][{{ '\u00a0é\u2003'.strip() }}][{{ "
    "'éaé'.strip('é') }}]",
    "{{ 'a b  c '.split() }} {{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ ' a  b "
    "'.split(none, 1) }} {{ 'abc'.split('x') }} {{ ''.split() }} {{ ''.split(',') }} {{ "
    "'a,b,c'.rsplit(',', 1) }} {{ ' a b  c '.rsplit(none, 1) }} {{ 'a b'.split(maxsplit=1) }} {{ "
    "'a-b'.split(sep='-') }}",
    "{{ 'a'.split('') }}",
    "{{ 'abc'.startswith('a') }} {{ 'abc'.endswith('bc') }} {{ 'abc'.startswith(('x', 'a')) }} {{ "
    "'abc'.startswith('b', 1) }} {{ 'abc'.endswith('b', 0, 2) }} {{ 'abc'.startswith('') }} {{ "
    "'abc'.startswith('', 4) }} {{ ''.endswith('', 0) }}",
    "{{ 'a'.startswith(1) }}",
    "{{ 'abcabc'.find('c') }} {{ 'abc'.find('x') }} {{ 'abcabc'.rfind('c') }} {{ 'éab'.find('b') "
    "}} {{ 'abcabc'.find('a', 1) }} {{ 'abc'.find('', 9) }} {{ 'abc'.index('c') }}",
    "{{ 'abc'.index('x') }}",
    "{{ 'aaa'.count('a') }} {{ 'aaa'.count('aa') }} {{ 'abc'.count('') }} {{ 'aaa'.count('a', 1) "
    "}}",
    "{{ 'abab'.replace('a', 'x') }} {{ 'abab'.replace('a', 'x', 1) }} {{ 'ab'.replace('', '-') }} "
    "{{ 'ab'.replace('', '-', 2) }} {{ 'aé'.replace('é', 'e') }} {{ 'ab'.replace('b', '') }}",
    "{{ 'a'.replace('a') }}",
    "{{ ', '.join(['a', 'b']) }} {{ ''.join('abc') }} {{ '-'.join({'a': 1, 'b': 2}) }}",
    "{{ ','.join([1]) }}",
    "{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('=') }} {{ "
    "'abc'.rpartition('=') }}",
    "{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('bc') }} {{ 'abc'.removeprefix('x') }}",
    "{{ 'a\\nb\\r\\nc\\n'.splitlines() }} {{ 'a\\nb'.splitlines(true) }} {{ "
    "'a\\x0bb\\u2028c'.splitlines() }}",
    "[{{ 'ab'.center(7) }}][{{ 'abc'.center(6, '*') }}][{{ 'ab'.center(5) }}][{{ 'ab'.ljust(5) "
    "}}][{{ 'ab'.rjust(5, 'é') }}][{{ '-5'.zfill(4) }}][{{ 'abc'.zfill(2) }}]",
    "{{ '12'.isdigit() }} {{ '1²'.isdigit() }} {{ 'a1'.isalnum() }} {{ 'aé'.isalpha() }} {{ ' "
    "'.isspace() }} {{ ''.isdigit() }} {{ 'aB'.islower() }} {{ 'AB1'.isupper() }} {{ '1'.isupper() "
    "}} {{ 'é'.isascii() }} {{ ''.isascii() }} {{ '½'.isnumeric() }} {{ '٣'.isdecimal() }}",
    "{{ '{} {}'.format(1, 'a') }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{x}'.format(x=1) }} {{ "
    "'{{}}'.format() }} {{ '{!r} {!s}'.format('a', 'b') }}",
    "[{{ "
    "'{:5}|{:<5}|{:>5}|{:^5}|{:*^7}|{:05d}|{:+d}|{:,}|{:.2f}|{:e}|{:x}|{:#x}|{:b}|{:%}|{:.1%}|{:10."
    "3f}|{:g}'.format('a', 'b', 'c', 'd', 'e', 42, 42, 1234567, 3.14159, 12345.678, 255, 255, 5, "
    "0.25, 0.256, 2.5, 1e10) }}]",
    "{{ '{:.3}'.format('abcdef') }} {{ '{:.3}'.format(3.14159) }} {{ '{:5}'.format(42) }} {{ "
    "'{:5}'.format(1.5) }} {{ '{:é>4}'.format('a') }} {{ '{:_}'.format(1234567) }} {{ "
    "'{}'.format(1.0) }} {{ '{}'.format(none) }} {{ '{:d}'.format(true) }} {{ '{}'.format(true) }}",
    "{{ '{0.a} {0[a]} {1[0]}'.format(d, l) }}",
    "{{ '{0.__class__}'.format(1) }}|",
    "{{ '{'.format(1) }}",
    "{{ '}'.format(1) }}",
    "{{ '{}'.format() }}",
    "{{ '{:d}'.format('a') }}",
    "{{ '{} {0}'.format(1) }}",
    "{{ '{zz}'.format(a=1) }}",
    "{{ 'a'.nope() }}",
    "{{ 'a'.upper(1) }}",
    "{{ 'abc'.upper().lower().title() }}",
    "{{ ('a' ~ 'b').upper() }}",
    // Filters.
    "{{ l|first }} {{ l|last }} {{ []|first }}|{{ []|last }}|{{ 'abc'|first }} {{ d|first }} {{ "
    "l|length }} {{ 'é'|length }} {{ l|count }}",
    "{{ 5|length }}",
    "{{ x|default('d') }} {{ none|default('d') }} {{ none|default('d', true) }} {{ ''|d('e', "
    "boolean=true) }} {{ x.y|default('d') }}",
    "{{ x|default('d') }}{{ d.zz|default }}|",
    "{{ l|join }} {{ l|join(', ') }} {{ ds|join('-', attribute='n') }} {{ 'abc'|join('.') }} {{ "
    "[1, none, x, 'a']|join('|') }}",
    "{{ l|join(1) }}",
    "{{ 'a b'|title }} {{ 'it\\'s a-b (c) [d'|title }} {{ 'HELLO wORLD'|capitalize }} {{ 'A'|lower "
    "}} {{ 5|upper }} {{ none|lower }} {{ 'éÉ'|upper }}",
    "[{{ ' a '|trim }}][{{ 'xax'|trim('x') }}][{{ none|trim }}]",
    "{{ 'aXbX'|replace('X', '-') }} {{ 'aXbX'|replace('X', '-', 1) }} {{ 515|replace(5, 'x') }}",
    "{{ l|sort }} {{ ['b', 'A', 'c']|sort }} {{ ['b', 'A', 'c']|sort(case_sensitive=true) }} {{ "
    "l|sort(reverse=true) }} {{ ds|sort(attribute='v') }} {{ ds|sort(attribute='n,v') }}",
    "{{ [1, 'a']|sort }}",
    "{{ [none, 1]|sort }}",
    "{{ l|reverse|list }} {{ 'abc'|reverse }} {{ l|map('string')|join }} {{ ['a', "
    "'b']|map('upper')|list }} {{ ds|map(attribute='n')|list }} {{ ds|map(attribute='zz', "
    "default='-')|list }} {{ ['a']|map('replace', 'a', 'b')|list }} {{ [[1, 2], [3]]|map('join', "
    "'-')|list }} {{ [[1, 2], [3]]|map(attribute=0)|list }} {{ [{'a': {'b': "
    "1}}]|map(attribute='a.b')|list }}",
    "{{ l|map|list }}",
    "{{ l|map('nope')|list }}",
    "{{ l|map(attribute='x', foo=1)|list }}",
    "{{ l|select('odd')|list }} {{ l|reject('odd')|list }} {{ [0, 1, '', 'a']|select|list }} {{ "
    "l|select('gt', 1)|list }} {{ l|select('in', [1, 2])|list }} {{ l|select('equalto', 2)|list }} "
    "{{ [1, none]|reject('none')|list }} {{ l|select('==', 1)|list }}",
    "{{ ds|selectattr('v')|list }} {{ ds|selectattr('n', 'equalto', 'x')|list }} {{ "
    "ds|rejectattr('v', 'gt', 1)|map(attribute='n')|list }} {{ ds|selectattr('zz', 'defined')|list "
    "}} {{ ds|selectattr('zz', 'undefined')|list|length }}",
    "{{ ds|selectattr|list }}",
    "{{ l|select('nope')|list }}",
    "{% set g = l|map('string') %}{{ g|list }}{{ g|list }}",
    "{% set g = l|select %}{{ g|first }}{{ g|list }}",
    "{{ (l|map('string'))|length }}",
    "{{ (l|map('string'))[0] }}|",
    "{{ l|map('string')|last }}",
    "{{ l|map('string') is iterable }} {{ l|map('string') is sequence }}",
    "{{ [1, 1, 2, 'a', 'A']|unique|list }} {{ ['a', 'A']|unique(true)|list }} {{ "
    "ds|unique(attribute='v')|list }}",
    "{{ l|sum }} {{ []|sum }} {{ ds|sum('v') }} {{ [[1], [2]]|sum(start=[]) }} {{ [1.5, 2]|sum }}",
    "{{ ['a']|sum }}",
    "{{ l|max }} {{ l|min }} {{ []|max }}| {{ ['b', 'A']|max }} {{ ['b', 'A']|min(true) }} {{ "
    "ds|max(attribute='v') }}",
    "{{ d|dictsort }} {{ {'b': 2, 'A': 1}|dictsort }} {{ {'b': 2, 'a': 3}|dictsort(by='value') }} "
    "{{ {'b': 2, 'A': 1}|dictsort(true, reverse=true) }}",
    "{{ l|batch(2)|list }} {{ l|batch(2, 'x')|list }} {{ l|slice(2)|list }} {{ range(7)|slice(3, "
    "'x')|list }}",
    "{% for g in ds|groupby('v') %}{{ g[0] }}:{{ g[1]|length }};{% endfor %}{% for k, v in ['a', "
    "'B', 'A']|groupby(attribute=0) %}{{ k }}={{ v }};{% endfor %}",
    "{{ -5|abs }} {{ (-5)|abs }} {{ -2.5|abs }} {{ '42'|int }} {{ '4x'|int }} {{ '4x'|int(7) }} {{ "
    "4.9|int }} {{ -4.9|int }} {{ ' 42 '|int }} {{ '0x1f'|int(0, 16) }} {{ '101'|int(0, 2) }} {{ "
    "'3.7'|int }} {{ none|int }} {{ []|int(3) }} {{ true|int }} {{ '1_000'|int }} {{ '1e3'|int }} "
    "{{ ''|int }}",
    "{{ '2.5'|float }} {{ 'x'|float }} {{ 'x'|float(1.5) }} {{ 3|float }} {{ none|float }} {{ "
    "'inf'|float }} {{ '-1e400'|float }} {{ 'nan'|float }} {{ '1_0.5'|float }} {{ '.5'|float }} {{ "
    "'5.'|float }}",
    "{{ x|int }}",
    "{{ 'a'|abs }}",
    "{{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 42|round }} {{ 42.55|round(1, "
    "'floor') }} {{ 42.51|round(1, 'ceil') }} {{ -2.5|round }} {{ 1234.5|round(-2) }} {{ "
    "0.5|round|int }} {{ 1e300|round(2) }}",
    "{{ 2.5|round(0, 'nope') }}",
    "{{ 'a'|round }}",
    "{{ 5|string + 'a' }} {{ none|string }} {{ [1]|string }} {{ 1.0|string }}",
    "{{ 'abc'|list }} {{ d|list }} {{ (1, 2)|list }}",
    "{{ 5|list }}",
    "{{ d|items|list }} {{ x|items|list }}",
    "{{ l|items|list }}",
    "{{ 'a\\nb\\n\\nc'|indent }} {{ 'a\\nb'|indent(2, true) }} {{ 'a\\n\\nb'|indent(2, blank=true) "
    "}} {{ 'a\\nb'|indent('> ') }}",
    "{{ none|indent }}",
    "{{ 'foo bar baz qux'|truncate(9) }} {{ 'foo bar baz qux'|truncate(9, true) }} {{ 'foo bar baz "
    "qux'|truncate(11) }} {{ 'foo bar baz qux'|truncate(9, false, '..', 0) }} {{ "
    "'abcdefghijklmnopq'|truncate(5) }}",
    "{{ 'a b  c-d é_1'|wordcount }}",
    "[{{ 'ab'|center(6) }}]",
    "{{ '<b>&\"\\'</b>'|e }} {{ '<b>'|escape|e }} {{ '<b>'|safe ~ '<i>' }} {{ ('<b>'|safe) + '<i>' "
    "}} {{ '<i>' + ('<b>'|safe) }} {{ '<b>'|e|forceescape }} {{ '<b>'|safe is escaped }} {{ "
    "['<'|safe] }} {{ ('<b>'|safe).upper() + '<' }} {{ '<'|safe * 2 + '<' }}",
    "{{ '%s-%s'|format('a', 1) }} {{ '%(x)s'|format(x=2) }}",
    "{{ '%s'|format(1, x=2) }}",
    "{{ d|attr('a') }}|{{ 'x'|attr('upper') is callable }}",
    "{{ 5|nope }}",
    "{% if false %}{{ 5|nope }}{% endif %}ok",
    "{% if true %}{{ 5|nope }}{% endif %}",
    "{{ 5|nope if false else 1 }}",
    "{% if false %}{{ 1 is nope }}{% endif %}ok",
    "{{ 1 is nope }}",
    "{{ 'a'|upper|lower|title }}",
    "{{ ('a'|upper)() }}",
    "{{ l|join(', ')|upper }}",
    "{% filter upper %}abc {{ 1 }}{% endfilter %}",
    "{% filter replace('a', 'b')|upper %}abc{% endfilter %}",
    "{{ l|sort()|first() }}",
    "{{ 'ΑΣ ΑΣΑ Σ ΑΣ. Α\u0301Σ\u0301 ΣΑΣ'.lower() }} {{ 'ΌΣΟΣ'.title() }} {{ 'ΌΣ'|capitalize }} {{ "
    "'ΌΣ όσ'|title }}",
    "{{ 'ᾳ ŉ ΐ ﬗ ǆ ⅷ ⓐ ĸ'.upper() }} {{ 'ᾳ ǆa ﬁn ßa'.title() }} {{ 'ǅ ⅷ ĸ' is lower }} {{ 'ĸ' is "
    "lower }} {{ 'ⅷ'.islower() }} {{ 'Ⅷ'.isupper() }}",
    "{{ dict(a=1, a=2) }}",
    "{{ dict(a=1, **{'a': 2}) }}",
    "{% macro m(a) %}{% endmacro %}{{ m(a=1, **{'a': 2}) }}",
    // tojson.
    "{{ '\x7f'|tojson(ensure_ascii=true) }}",
    "{{ d|tojson }} {{ l|tojson }} {{ 'é\"<>&\\'\\n\\t\\x01\\x7f\\u2028🙂'|tojson }} {{ "
    "none|tojson }} {{ true|tojson }} {{ 1.0|tojson }} {{ 1e20|tojson }} {{ (1, 2)|tojson }} {{ "
    "[]|tojson }} {{ {}|tojson }}",
    "{{ d|tojson(indent=2) }}",
    "{{ {'a': [], 'b': {}, 'c': [1, {'x': 2}]}|tojson(indent=4) }}",
    "{{ d|tojson(indent=0) }}",
    "{{ d|tojson(indent='\\t') }}",
    "{{ d|tojson(separators=(',', ':')) }} {{ d|tojson(separators=[', ', ' = '], indent=1) }}",
    "{{ {'b': 1, 'a': {'d': 1, 'c': 2}}|tojson(sort_keys=true) }}",
    "{{ {'é': '🙂'}|tojson(ensure_ascii=true) }} {{ 'é'|tojson(true) }}",
    "{{ {1: 2, true: 3, none: 4, 2.5: 5}|tojson }}",
    "{{ {(1, 2): 3}|tojson }}",
    "{{ x|tojson }}",
    "{{ [x]|tojson }}",
    "{{ range(3)|tojson }}",
    "{{ d.items()|tojson }}",
    "{{ namespace()|tojson }}",
    "{{ 'inf'|float|tojson }} {{ 'nan'|float|tojson }}",
    "{{ {1: 'a', 'b': 2}|tojson(sort_keys=true) }}",
    "{{ l|tojson(nope=1) }}",
    "{{ '<a>'|safe|tojson }}",
    // Tests.
    "{{ x is defined }} {{ s is defined }} {{ x is undefined }} {{ x is not defined }} {{ d.zz is "
    "defined }} {{ d['a'] is defined }}",
    "{{ none is none }} {{ x is none }} {{ 1 is number }} {{ true is number }} {{ 1.5 is float }} "
    "{{ 1 is integer }} {{ true is integer }} {{ true is boolean }} {{ 'a' is string }} {{ 1 is "
    "string }}",
    "{{ l is sequence }} {{ 'a' is sequence }} {{ d is sequence }} {{ 1 is sequence }} {{ x is "
    "sequence }} {{ d is mapping }} {{ l is mapping }} {{ l is iterable }} {{ 'a' is iterable }} "
    "{{ 1 is iterable }} {{ none is iterable }} {{ x is iterable }} {{ range(3) is iterable }} {{ "
    "d.items() is sequence }} {{ range(3) is sequence }}",
    "{{ 1 is odd }} {{ 2 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 1 is eq "
    "1 }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is ge(2) }} {{ 'a' is in 'abc' }} {{ 'a' is in "
    "['b'] }} {{ 1 is sameas 1 }} {{ none is sameas none }} {{ true is sameas true }} {{ 1 is "
    "sameas true }}",
    "{{ true is true }} {{ 1 is true }} {{ false is false }} {{ 0 is false }} {{ 'abc' is lower }} "
    "{{ 'ABC' is upper }} {{ range is callable }} {{ 1 is callable }} {{ 'upper' is filter }} {{ "
    "'nope' is filter }} {{ 'odd' is test }} {{ 'a' is escaped }}",
    "{{ 'a' is odd }}",
    "{{ x is odd }}",
    "{{ 1 is defined is defined }}",
    "{{ (1 is defined) is true }}",
    "{{ 1 is not none and 2 is not none }}",
    "{{ l is not string and l is iterable }}",
    "{{ not x is defined }}",
    "{{ d.a is string }}",
    "{{ 1 is divisibleby 0 }}",
    "{{ 3 is gt 2 is true }}",
    "{{ 'a' is equalto 'a' }}",
    "{{ l[0] is number and l|length == 3 }}",
};

}  // namespace sluice::test
