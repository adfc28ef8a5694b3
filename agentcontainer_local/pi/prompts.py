"""All texts of ours that the agent reads. A standard agent's base prompt is data, in `store/agents.py`."""

# Messages.

WITH_FILES = "\n\n---\nFiles that came with this message:"
FOOTER = "\n\n---\nThis text is also in ~/TASK.md; ~/task/HARNESS.md says how work is done here and how it is ended."
RESUME = (
    "The run was interrupted and has been started again. Your files are as they were; the last command may not have"
    " completed, and programs that ran in the background are gone. Go on with the task."
)
TELL = {
    "deadline": "You were woken: the time until which you wanted to hibernate has come. Go on with the task.",
    "external_wake": "You were woken from hibernation by an event outside. Look at what has changed, and go on.",
    "switched": "From now on nobody answers you: go on by yourself until the work is done, then call `finish`.",
}
WOKEN_BY_MESSAGE = "You were woken from hibernation by this message:\n\n"
NUDGE = (
    "You stopped without calling `finish`. The task ends only by it: call it now, with --complete-task if the work is"
    " done, or with --incomplete-task and what is missing."
)
WRAP_UP = (
    "The time for this task is nearly over. Wrap up now: leave what is not needed, and call `finish` with what you have"
    " (with --incomplete-task if something is missing)."
)
BUDGET_SOON = {
    "autonomous": "Most of what this task may spend on model calls is used. Leave what is not needed, and call `finish`"
    " soon with what you have (with --incomplete-task if something is missing).",
    "conversation": "Most of what may be spent on model calls is used: keep to what is needed, and answer soon.",
}
BUDGET_OUT = {
    "autonomous": "What this task may spend on model calls is used up, but for a last small part that is kept for"
    " ending it. Do nothing more but call `finish` with what you have (with --incomplete-task if"
    " something is missing).",
    "conversation": "What may be spent on model calls is used up, but for a last small part. Answer now, in a few"
    " words, with what you have.",
}

# HARNESS.md.

HARNESS = """# How work is done here

You work in a Linux container of your own, in `/workspace`, which is also your home directory.
The task is in `~/TASK.md`. {network}

## Files that came with the task
{files}
{ending}"""
NO_FILES = "- none\n"
INTERNET = "You have access to the internet."
PROXY = (
    "There is no network here but an HTTP proxy, which the usual variables (`https_proxy` and so on) name."
    " It reaches these hosts and no others: {hosts}."
)
NO_NETWORK = "There is no network here."
ANSWERING = """## Answering
This is a conversation: answer each message in words, and then stop; the next message comes when the user has read it.
Files that the user should get with the answer are given with `attach FILE…` before you answer. Files in `/workspace`
are kept from message to message; programs that run in the background may not be.

## Ending the conversation
When the user asks you to end it, or to finish, call `finish` instead of an answer: no further message comes then.
If it is refused, it says why: mend that, and call it again.

    finish --complete-task --message "What was done" FILE…

{outputs}"""
ENDING = """## Ending the task
The task ends only when the command `finish` is accepted. If it is refused, it says why: mend that, and call it again.

    finish --complete-task --message "What was done" FILE…
    finish --incomplete-task --message "What is missing, and why" FILE…

A directory in the place of a file is handed over as one archive.

`--incomplete-task` is for work that cannot be done in full.

{outputs}
## Waiting for something
If there is nothing to do until a later time or an outside event, call `hibernate --for 2h --message "why"` or
`hibernate --until 2030-01-01T00:00:00Z`. Your files and this conversation are kept; running programs are not.
"""
OUTPUTS = {
    "any": "Hand over any files that the task asks for, or none.",
    "none": "This task hands over no files: call `finish` without any.",
    "at_least_one": "Hand over at least one file.",
}
NAMED_OUTPUTS = """These outputs are required, each by its name; further files need no name:
{wanted}
    finish --complete-task --message "What was done" {flags}
"""
