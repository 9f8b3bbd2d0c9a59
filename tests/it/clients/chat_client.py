"""WHAT: a journey with python-telegram-bot or slack_sdk as it comes, by what the environment says; prints what it got."""
import asyncio
import os
import sys


async def telegram():
    from telegram import Bot
    from telegram.error import Forbidden

    async with Bot(os.environ["TELEGRAM_BOT_TOKEN"]) as bot:
        print("me", bot.username)
        message = await bot.send_message(chat_id=1, text="hi + \u00fc&=")
        print("sent", message.message_id)
        message = await bot.send_document(chat_id=1, document=b"the file's bytes\x00\xff", filename="a.bin")
        print("uploaded", message.document.file_id)
        file = await bot.get_file("leaky")
        print("leaky", file.file_path)
        file = await bot.get_file("plain")
        print("downloaded", bytes(await file.download_as_bytearray()))
        try:
            await bot.ban_chat_member(chat_id=1, user_id=2)
        except Forbidden as error:
            print("denied", error)


def slack():
    from slack_sdk import WebClient
    from slack_sdk.errors import SlackApiError

    client = WebClient(token=os.environ["SLACK_BOT_TOKEN"])
    print("me", client.auth_test()["user"])
    print("sent", client.chat_postMessage(channel="C1", text="hi + \u00fc&=")["ts"])
    # Older clients say their token in the form.
    print("form", client.api_call("users.info", data={"token": os.environ["SLACK_BOT_TOKEN"], "user": "U1"})["user"]["id"])
    done = client.files_upload_v2(channel="C1", content="the file's text", filename="a.txt")
    print("uploaded", done["file"]["id"])
    try:
        client.chat_delete(channel="C1", ts="1")
    except SlackApiError as error:
        print("denied", error.response.status_code, error)


if sys.argv[1] == "telegram":
    asyncio.run(telegram())
else:
    slack()
