"""The words by which errors are known: those that say exactly what went wrong, and those that only hint at it.

Order counts: the first code whose words are found is the one. All are regular expressions, read without regard to case.
"""

from __future__ import annotations

from collections.abc import Mapping

EXACT: Mapping[str, str] = {
    "context_overflow": (
        r"context[ _](?:length|window|size)|maximum (?:context|input|prompt)|prompt is too long"
        r"|input is too long|too many (?:input |prompt )?tokens|reduce the (?:length|number of tokens"
        r"|size of the)|tokens? (?:count )?exceeds? |exceeds? the (?:maximum|model'?s?|limit of"
        r"|allowed)[^.]{0,60}tokens|input token count|(?:input|prompt)[^.]{0,40}longer than the (?:model"
        r"|context|maximum)|token limit"
    ),
    "content_filter": (
        r"content[ _-](?:filter|policy|management)|responsible ?ai|safety (?:system|filter|setting|policy)"
        r"|(?:blocked|flagged|rejected|stopped)[^.]{0,40}(?:safety|moderation|policy|guardrail|recitation"
        r"|prohibited)|guardrail (?:intervened|tripwire)|moderation"
    ),
    "step_limit": (
        r"recursion[ _]limit|max(?:imum)?[ _](?:number of )?(?:iterations?|turns?|steps|rounds|tool calls)"
        r"|(?:iteration|step|turn)s? limit|(?:stopped|ended|terminated) due to (?:the )?(?:max|iteration)"
        r"|(?:reached|exceeded|hit) (?:the |its )?(?:max|limit of \d+ (?:steps|turns|iterations))"
        r"|(?:request|tool calls?)_limit of|graph recursion error"
    ),
    "resource_exhaustion": (
        r"insufficient[ _](?:quota|funds|balance|credits?|memory|disk)|exceeded your (?:current|monthly"
        r"|daily) quota|quota (?:was |has been )?(?:exceeded|exhausted|used up)|credit balance"
        r"|out of (?:credits|memory|disk)|billing|payment required|memory ?error|oom[- ]?kill"
        r"|cannot allocate|unable to allocate|no space left|disk (?:is )?full|too many open files"
        r"|too many (?:clients|connections)|connection slots|pool (?:is )?exhausted|queuepool limit"
        r"|heap (?:space|limit|out)|exit(?:ed with)?(?: status| code)? 137|memory limit|disk quota"
        r"|not enough (?:memory|space)|usage limit|spending limit"
    ),
    "rate_limit": (
        r"rate[ _-]?limit|too many requests|throttl|(?:requests?|tokens?|calls) per (?:second|minute|hour"
        r"|day)|slow ?down|rate exceeded|rate of requests|request limit (?:reached|exceeded)|too frequent"
        r"|\b[rt]p[md]\b"
    ),
    "tool_definition": (
        r"invalid (?:json )?schema for|invalid ['\"]?(?:tools?|functions?)\W{0,3}\d|tools?\W{1,2}\d+\W"
        r"|tool names? (?:must be unique|must match|already)|duplicate (?:tool|function)|(?:input|tool"
        r"|function|json)[ _]schema (?:is |must |does |isn|has|was|could)|schema must (?:be|have)|(?:tool"
        r"|function) definition"
    ),
    "unknown_tool": (
        r"unknown (?:tool|function|action)|(?:no|not a valid|invalid) (?:tool|function|action)(?: named"
        r"| called| with name)|\w+ is not a valid tool|(?:tool|function"
        r"|action) (?:name )?['\"`]?[\w.\-]+['\"`]? (?:was |is |could |does )?(?:not|n't) (?:be )?(?:found"
        r"|exist|registered|available|recognized|offered)|(?:tool|function) not (?:found|available"
        r"|registered)|no such (?:tool|function)|-32601|(?:^|rpc.{0,40})method not found|called (?:an )?(?:unknown"
        r"|undefined|nonexistent) (?:tool|function)"
    ),
    "environment_setup": (
        r"no module named|module ?not ?found|cannot import name|import ?error|command not found"
        r"|not recognized as an internal|executable (?:file )?(?:not found|doesn't exist|needs to be in)"
        r"|environment variable|\benv(?:ironment)? var|(?:must|needs to|has to) be (?:set|configured"
        r"|installed)|(?:is|are) not (?:set|installed|configured)\b|(?:please|pip|npm|apt(?:-get)?) install"
        r"|cannot open shared object|dll load failed|docker daemon|library not loaded|glibc"
        r"|unsupported python version|cannot find module|could not find (?:a version|driver|browser|chrome)"
        r"|missing (?:dependency|dependencies)|is required to use"
        r"|no such file or directory: ['\"][\w\-]+['\"]"
    ),
    "formatting_error": (
        r"expecting (?:value|property|',' delimiter|':' delimiter)|unterminated string|extra data: line"
        r"|json ?decode|(?:invalid|malformed|broken|not valid|bad) (?:json|xml|yaml|markdown|sql"
        r"|code block)|(?:could ?n[o']t|unable to|failed to|cannot|error) (?:be )?pars(?:e|ed|ing)"
        r"|parse error|parsing error|output ?pars(?:er|ing)|unexpected (?:token|end of (?:json|input|data"
        r"|file)|eof)|syntax ?error|code block|regex pattern.{0,60}not found in|control character"
        r"|invalid (?:\\?escape|literal for)"
    ),
    "tool_arguments": (
        r"validation errors?|missing \d+ required|missing (?:a )?required|unexpected keyword|field required"
        r"|is a required property|required (?:property|parameter|argument|field)|is not of type"
        r"|is not one of \[|input should be|(?:invalid|bad|wrong|illegal) (?:params|parameters?|arguments?"
        r"|input)|invalid_(?:type|argument)|-32602|unprocessable|additional properties are not allowed"
        r"|does not match the (?:schema|tool|expected)|(?:got|received) an unexpected|takes \d+ positional"
        r"|value is not a valid|unrecognized_keys|not a valid (?:enum|uuid)|(?:parameter"
        r"|argument) ['\"`]?\w+['\"`]? (?:is (?:missing|required|invalid)|must be)"
    ),
}

LOOSE: Mapping[str, str] = {
    "authentication": (
        r"unauthori[sz]ed|unauthenticated|authenticat|(?:invalid|incorrect|wrong|bad|missing|expired"
        r"|revoked|no) (?:\w+ )?(?:\w+-)*(?:api[ _-]?key|key|token|credentials?|password|login|signature"
        r"|x-api-key)\b|(?:token|key|session|credentials?|certificate) (?:is |has |was |have "
        r"|are )?(?:been )?(?:expired|invalid|revoked|missing|rejected)|api[ _-]?key (?:not|is|was"
        r"|provided)|unable to locate credentials|could not validate credentials|log ?in (?:required|failed"
        r"|again)|(?:sign|log) in to|password authentication|signature ?does ?not ?match|invalid_(?:grant"
        r"|client|token|api_key)|access token"
    ),
    "permission_denied": (
        r"permission|forbidden|access (?:is |was )?(?:denied|refused|restricted)|access ?denied"
        r"|not (?:authori[sz]ed|allowed) (?:to|for|by)|insufficient (?:scope|privilege|right|access)"
        r"|must be (?:the )?owner|operation not permitted|(?:do|does) not have (?:access|the right)"
        r"|read-only|\beacces\b|\beperm\b|lacks? (?:the )?(?:scope|role|right)"
    ),
    "timeout": (
        r"tim(?:e|ed)[ _-]?out|deadline|etimedout|took (?:too long|longer|more than)|gave up (?:waiting"
        r"|after)|no (?:response|answer|reply) (?:within|after|in)|did not (?:respond|answer|finish"
        r"|complete) (?:within|in|after)|statement timeout|lock timeout|not finish(?:ed)? in time"
    ),
    "connection": (
        r"connection|connect (?:call|error|to)|econn\w+|getaddrinfo|name resolution"
        r"|name or service not known|nodename|could not resolve|enotfound|\bdns\b|\bssl|\btls\b"
        r"|certificate verif|self-signed"
        r"|disconnected|unreachable|no route to host|peer closed|broken pipe|socket|max retries exceeded"
        r"|proxy error|eof occurred|network (?:is|error|failure)"
    ),
    "not_found": (
        r"not found|no such|(?:does|do|did) ?n[o']t exist|not exist|no longer (?:exists|available)"
        r"|cannot find|could ?n[o']t (?:be )?(?:find|found|locate)|\benoent\b|unknown (?:host|column|table"
        r"|database|model|id|record|user|resource)|no (?:record|row|result|entry|item|object|user|customer"
        r"|page|file|document|order|match)s? (?:\w+ )?(?:found|exists?|with|for|at|matching|named)"
        r"|missing (?:file|page|table)|has been (?:deleted|removed)|is gone\b|nosuch"
    ),
    "service_error": (
        r"internal (?:server )?error|server error|bad gateway|service (?:is )?(?:currently "
        r"|temporarily )?(?:un|not )available|(?:temporarily|currently) unavailable|unavailable|overloaded"
        r"|over ?capacity|at capacity|upstream|server (?:had|encountered|experienced|failed)|maintenance"
        r"|try again later|api ?(?:status )?error|backend|\boutage|system error|unexpected error occurred"
        r"|(?:server|service) (?:is )?(?:down|busy)"
    ),
}
