"""The demo's cases: sixty questions as a person would ask them, each with the symbol that answers it.

They were written down before either version of the agent was measured, and stay as they are, whoever they
favour.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One case of the demo.

    Args:
        case: Its id, which pairs the two versions' answers.
        text: What is asked.
        symbol: The symbol that has to be found.
    """

    case: str
    text: str
    symbol: str


_TABLE = """
flatten | How do I flatten a list of lists lazily? | itertools.chain.from_iterable
frequent-words | What are the ten words that appear most often? | collections.Counter.most_common
remember-results | How can I cache the results of an expensive function? | functools.lru_cache
fix-arguments | How do I fix some arguments of a function and call it later? | functools.partial
sorted-place | Where does a new value belong in a sorted list? | bisect.bisect_left
biggest-five | What are the five biggest values of a huge stream? | heapq.nlargest
merge-sorted | How do I combine several sorted files into one sorted stream? | heapq.merge
consecutive | How do I collect consecutive items that share the same key? | itertools.groupby
pairs | What are all possible pairs out of a list, without repeats? | itertools.combinations
nested-loops | Is there one iterator that replaces my nested for loops? | itertools.product
first-hundred | How do I take only the first 100 elements of a generator? | itertools.islice
uneven | How do I loop over two lists of different length together? | itertools.zip_longest
running-total | How do I get the running total of a list of numbers? | itertools.accumulate
delete-folder | How do I delete a folder with everything in it? | shutil.rmtree
copy-folder | How do I copy a whole folder to another place? | shutil.copytree
executable | Where on my PATH does an executable live? | shutil.which
free-space | How much free space is left on the drive? | shutil.disk_usage
scratch | How do I get a scratch folder that disappears afterwards? | tempfile.TemporaryDirectory
parents | How do I make a directory and all its missing parents? | os.makedirs
extension | How do I separate a file name from its extension? | os.path.splitext
home | How do I turn ~ into the home directory? | os.path.expanduser
every-file | How do I visit every file in a folder and its subfolders? | os.walk
processors | How many processors does this machine have? | os.cpu_count
to-json | How do I turn a dictionary into a JSON string? | json.dumps
from-json | How do I parse the JSON text that a web service sent? | json.loads
plain-dataclass | How do I convert a dataclass to a plain dictionary? | dataclasses.asdict
parse-date | How do I parse a date out of text in a given format? | datetime.datetime.strptime
unix-time | How do I convert unix seconds to a date and time? | datetime.datetime.fromtimestamp
seconds | How many seconds lie between two dates? | datetime.timedelta.total_seconds
leap | Does this year have a 29th of February? | calendar.isleap
month-length | How many days does a given month have? | calendar.monthrange
deck | How do I put a deck of cards in random order? | random.shuffle
lottery | How do I draw six lottery numbers, none of them twice? | random.sample
weighted | How do I pick at random when some items are more likely? | random.choices
reset-link | How do I make an unguessable string for a reset link? | secrets.token_urlsafe
middle | What is the middle value of my measurements? | statistics.median
spread | How spread out are the values of my sample? | statistics.stdev
float-equality | How do I compare two floats despite rounding errors? | math.isclose
common-divisor | What is the largest number that divides both of these? | math.gcd
replace-pattern | How do I replace every match of a pattern in a text? | re.sub
literal-search | How do I search for input that has dots and stars in it? | re.escape
whole-format | How do I check that the whole input has the right format? | re.fullmatch
drop-prefix | How do I drop 'https://' from the front of a string? | str.removeprefix
ignore-case | How do I compare two words whatever their case? | str.casefold
leading-zeros | How do I pad a number with leading zeros? | str.zfill
indentation | How do I get rid of the common indentation of a text? | textwrap.dedent
cut-text | How do I cut a long text to 80 characters with dots at the end? | textwrap.shorten
spelling | How do I suggest the right spelling of a mistyped word? | difflib.get_close_matches
changes | How do I show what changed between two versions of a file? | difflib.unified_diff
run-program | How do I run another program and get its output? | subprocess.run
split-command | How do I split a command line the way the shell does? | shlex.split
query-string | How do I build a query string from a dictionary? | urllib.parse.urlencode
relative-link | How do I resolve a relative link found on a page? | urllib.parse.urljoin
safe-html | How do I make a user's text safe to show on a page? | html.escape
ignore-error | How do I ignore an exception without a try block? | contextlib.suppress
duplicate | How do I duplicate a nested structure completely? | copy.deepcopy
stopwatch | How do I measure precisely how long my code takes? | time.perf_counter
wait-coroutines | How do I wait for several coroutines together? | asyncio.gather
task-order | In which order must tasks run that depend on others? | graphlib.TopologicalSorter
parameters | Which parameters does a function accept? | inspect.signature
"""

QUESTIONS: tuple[Question, ...] = tuple(
    Question(*(cell.strip() for cell in line.split("|"))) for line in _TABLE.splitlines() if line
)
